package lifecycle

import (
	"cmp"
	"fmt"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/json"

	"github.com/modelkiln/modelkiln/internal/workflow"
)

// An Attempt is what a Workflow means to the ModelVersion that it builds, for people who
// want to know why.
type Attempt struct {
	Outcome
	// Name is the name of the Workflow, and Number that of the attempt, from 1. A
	// resubmitted Workflow has the number of its original.
	Name   string
	Number int64
	// Template is the name of the template that it runs; empty if it names none.
	Template string
	// Start is when the Workflow began, and End when it finished; zero before.
	Start, End metav1.Time
	// Nodes are the nodes on which its pods ran, without duplicates.
	Nodes []string
	// Done of Total are the bytes of the model that the running pod has copied into the
	// image, as Argo reports them; both are 0 while that is not known.
	Done, Total int64
}

// ReadAttempt returns what a Workflow means, given as the JSON that the API server
// returns. The error is that of a Workflow that cannot be decoded.
func ReadAttempt(raw []byte) (Attempt, error) {
	wf := &wfv1.Workflow{}
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, wf); err != nil {
		return Attempt{}, fmt.Errorf("decode the Workflow: %w", err)
	}
	attempt := Attempt{
		Outcome: WorkflowOutcome(wf), Name: wf.Name, Number: workflow.AttemptNumber(wf),
		Start: startTime(wf), End: wf.Status.FinishedAt,
	}
	if ref := wf.Spec.WorkflowTemplateRef; ref != nil {
		attempt.Template = sentence(ref.Name)
	}
	attempt.Done, attempt.Total, _ = runOf(wf).podBytes()
	for _, pod := range nodesWhere(wf, func(node wfv1.NodeStatus) bool { return node.HostNodeName != "" }) {
		attempt.Nodes = append(attempt.Nodes, sentence(pod.HostNodeName))
	}
	slices.Sort(attempt.Nodes)
	attempt.Nodes = slices.Compact(attempt.Nodes)
	return attempt, nil
}

// SortAttempts sorts attempts by their start, the last one first.
func SortAttempts(attempts []Attempt) {
	slices.SortFunc(attempts, func(a, b Attempt) int {
		return cmp.Or(b.Start.Compare(a.Start.Time), cmp.Compare(b.Number, a.Number), cmp.Compare(b.Name, a.Name))
	})
}
