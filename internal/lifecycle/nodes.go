package lifecycle

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/internal/text"
)

// maxSentence is the number of characters of a message of Argo, kubelet or a
// step that a status repeats.
const maxSentence = 500

// sentence returns a message of another program or user as one line without a full
// stop, short enough for a status.
func sentence(message string) string { return text.Sentence(message, maxSentence) }

// noMessage stands for the message of what failed without one.
const noMessage = "no message"

// A run is a Workflow with its current nodes, which are computed once.
type run struct {
	*wfv1.Workflow
	// nodes are the nodes without those of superseded tries, in the order of
	// their IDs.
	nodes []wfv1.NodeStatus
}

func runOf(wf *wfv1.Workflow) run {
	if HidesNodes(wf) && wf.Status.Phase.Completed() {
		return run{wf, nodesOfHidden(wf)}
	}
	return run{wf, currentNodes(wf)}
}

// nodesWhere returns the nodes of a Workflow that a condition holds for, in the
// order of their IDs.
func nodesWhere(wf *wfv1.Workflow, holds func(wfv1.NodeStatus) bool) []wfv1.NodeStatus {
	var nodes []wfv1.NodeStatus
	for _, id := range slices.Sorted(maps.Keys(wf.Status.Nodes)) {
		if node := wf.Status.Nodes[id]; holds(node) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// stepNode returns the node of a step, or nil.
func (r run) stepNode(step string) *wfv1.NodeStatus {
	for i := range r.nodes {
		if node := &r.nodes[i]; node.Type == wfv1.NodeTypeContainer && node.DisplayName == step {
			return node
		}
	}
	return nil
}

// firstMessage returns the message of the first of these pods and containers
// that failed and whose message contains a text, or an empty string. Those that
// failed as a consequence of another come last.
func firstMessage(nodes []wfv1.NodeStatus, contains string) string {
	var failed []*wfv1.NodeStatus
	for i := range nodes {
		node := &nodes[i]
		isPod := node.Type == wfv1.NodeTypePod || node.Type == wfv1.NodeTypeContainer
		if isPod && node.FailedOrError() && node.Message != "" && strings.Contains(node.Message, contains) {
			failed = append(failed, node)
		}
	}
	if len(failed) == 0 {
		return ""
	}
	first := slices.MinFunc(failed, func(a, b *wfv1.NodeStatus) int {
		return cmp.Or(consequence(a)-consequence(b), a.FinishedAt.Compare(b.FinishedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	return sentence(first.Message)
}

// consequence returns 1 for a node that failed, or may have failed, because
// another one did, and 0 for any other.
func consequence(node *wfv1.NodeStatus) int {
	dependent := strings.Contains(node.Message, "dependency") && strings.Contains(node.Message, "exited with non-zero code")
	if dependent || strings.Contains(node.Message, exitedBySIGTERM) {
		return 1
	}
	return 0
}

// exitedBySIGTERM is Argo's message for a container that received SIGTERM before
// its step began: a step that has begun reports that it was terminated. Where
// another container failed, the pod's other containers may be terminated for
// that.
const exitedBySIGTERM = "Error (exit code 143)"

func outputParameters(outputs *wfv1.Outputs) []wfv1.Parameter {
	if outputs == nil {
		return nil
	}
	return outputs.Parameters
}
