package workload

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/internal/text"
)

// maxMessage is the number of characters of a workload's own message that a
// status repeats.
const maxMessage = 500

// A State is how far a training workload is.
type State string

const (
	// Running means that the workload has neither completed nor failed.
	Running State = "Running"
	// Completed means that the workload's files are complete.
	Completed State = "Completed"
	// Failed means that the workload ended without completing.
	Failed State = "Failed"
)

// A rule returns how far a workload is by its status. The message is why it failed,
// or why it is not known whether it has completed.
type rule func(status map[string]any) (State, string)

// byConditions is the rule of kinds with the conditions of Kubernetes' Job: Complete,
// Completed or Succeeded, and Failed. Some controllers set Completed for every
// workload that has ended, so any sign of a failure counts more, in any order.
func byConditions(status map[string]any) (State, string) {
	state := Running
	for _, condition := range conditionsOf(status) {
		if condition["status"] != string(corev1.ConditionTrue) {
			continue
		}
		switch condition["type"] {
		case "Failed", "Killed", "EarlyStopped", "MetricsUnavailable":
			return Failed, sentenceOf(condition, "reason", "message")
		case "Complete", "Completed", "Succeeded":
			state = Completed
		}
	}
	for _, field := range []string{"phase", "terminalState"} {
		if value := stringAt(status, field); value == "Failed" || value == "Error" {
			return Failed, sentenceOf(status, field, "message")
		}
	}
	return state, ""
}

// bySucceeded is the rule of kinds whose only condition is Succeeded, which is False
// if the workload failed, and Unknown until it has ended. A False with one of these
// reasons is of a workload that has not ended.
func bySucceeded(status map[string]any) (State, string) {
	for _, condition := range conditionsOf(status) {
		if condition["type"] != "Succeeded" {
			continue
		}
		reason, _ := condition["reason"].(string)
		switch {
		case condition["status"] == string(corev1.ConditionTrue):
			return Completed, ""
		case condition["status"] == string(corev1.ConditionFalse) && !slices.Contains([]string{"Running", "Started", "Pending"}, reason):
			return Failed, sentenceOf(condition, "reason", "message")
		}
	}
	return Running, ""
}

// A phase is a field of a status whose value is how far the workload is.
type phase struct {
	// path leads to the field.
	path []string
	// completed and failed are the values of a workload that has ended. With any
	// other value it runs.
	completed, failed []string
	// message leads to the fields that say why it failed, beside the phase.
	message []string
}

// byPhase is the rule of kinds with phases. A failure in one of them counts more than
// what the others say. A workload has completed when one of them says so.
func byPhase(phases ...phase) rule {
	return func(status map[string]any) (State, string) {
		state := Running
		for _, p := range phases {
			parent := status
			for _, name := range p.path[:len(p.path)-1] {
				parent, _ = parent[name].(map[string]any)
			}
			name := p.path[len(p.path)-1]
			switch value := stringAt(parent, name); {
			case slices.Contains(p.failed, value):
				return Failed, sentenceOf(parent, append([]string{name}, p.message...)...)
			case slices.Contains(p.completed, value):
				state = Completed
			}
		}
		return state, ""
	}
}

// conditionsOf returns the conditions in a status. Of a status of any other shape,
// none counts.
func conditionsOf(status map[string]any) []map[string]any {
	list, _ := status["conditions"].([]any)
	var conditions []map[string]any
	for _, each := range list {
		if condition, isCondition := each.(map[string]any); isCondition {
			conditions = append(conditions, condition)
		}
	}
	return conditions
}

// statusOf returns the status of a workload, or nil.
func statusOf(object *unstructured.Unstructured) map[string]any {
	status, _ := object.Object["status"].(map[string]any)
	return status
}

// sentenceOf returns the texts in these fields as one line.
func sentenceOf(object map[string]any, fields ...string) string {
	var parts []string
	for _, field := range fields {
		if part := stringAt(object, field); part != "" {
			parts = append(parts, part)
		}
	}
	return text.Sentence(strings.Join(parts, ": "), maxMessage)
}

func stringAt(object map[string]any, field string) string {
	value, _ := object[field].(string)
	return value
}
