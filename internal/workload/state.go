package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/modelkiln/modelkiln/internal/text"
)

// maxMessage is the number of characters of a workload's own message that a
// status repeats.
const maxMessage = 500

// TrainingKinds returns the kinds of training workloads that are supported
// without configuration. A cluster need not have them.
func TrainingKinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		{Group: "batch", Version: "v1", Kind: "Job"},
		{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"},
		{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"},
		{Group: "kubeflow.org", Version: "v1", Kind: "TFJob"},
		{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"},
	}
}

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

// StateOf returns how far a workload is by the conditions in its status, and
// the message of one that failed.
func StateOf(workload *unstructured.Unstructured) (State, string) {
	state, message := Running, ""
	// A status of any other shape has no condition that counts.
	value, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "status", "conditions")
	conditions, _ := value.([]any)
	for _, each := range conditions {
		condition, isCondition := each.(map[string]any)
		if !isCondition || condition["status"] != string(corev1.ConditionTrue) {
			continue
		}
		switch condition["type"] {
		case "Complete", "Completed", "Succeeded":
			return Completed, ""
		case "Failed":
			state, message = Failed, failureMessage(condition)
		}
	}
	return state, message
}

// failureMessage returns a condition's reason and message as one line.
func failureMessage(condition map[string]any) string {
	var parts []string
	for _, key := range []string{"reason", "message"} {
		if part, isString := condition[key].(string); isString && part != "" {
			parts = append(parts, part)
		}
	}
	return text.Sentence(strings.Join(parts, ": "), maxMessage)
}
