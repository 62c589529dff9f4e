package translate

import (
	"cmp"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A Workflow can try a template again by itself, by a retryStrategy: a node of
// type Retry stands for all tries then, and each has nodes of its own. Only the
// last try says how the Workflow is and what it led to.

// latestNodes are a Workflow's nodes without those of tries that another
// followed, in the order of their IDs.
func latestNodes(wf *wfv1.Workflow) []wfv1.NodeStatus {
	followed := map[string]bool{}
	for _, node := range wf.Status.Nodes {
		tries := triesOf(wf, node)
		for i := range max(0, len(tries)-1) {
			followed[tries[i].ID] = true
		}
	}
	return nodesBy(wf, func(node wfv1.NodeStatus) bool { return !isWithin(wf, node, followed) })
}

// nodesBy are the nodes of a Workflow that a condition holds for, in the order
// of their IDs.
func nodesBy(wf *wfv1.Workflow, holds func(wfv1.NodeStatus) bool) []wfv1.NodeStatus {
	var nodes []wfv1.NodeStatus
	for _, node := range wf.Status.Nodes {
		if holds(node) {
			nodes = append(nodes, node)
		}
	}
	slices.SortFunc(nodes, func(a, b wfv1.NodeStatus) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// triesOf are the tries that a node of type Retry stands for, the first one
// first. Any other node has none.
func triesOf(wf *wfv1.Workflow, node wfv1.NodeStatus) []wfv1.NodeStatus {
	var tries []wfv1.NodeStatus
	if node.Type != wfv1.NodeTypeRetry {
		return tries
	}
	for _, id := range node.Children {
		if try, found := wf.Status.Nodes[id]; found {
			tries = append(tries, try)
		}
	}
	return tries
}

// isWithin says that a node is one of these, or part of one.
func isWithin(wf *wfv1.Workflow, node wfv1.NodeStatus, ids map[string]bool) bool {
	// No chain is longer than there are nodes.
	for range wf.Status.Nodes {
		if ids[node.ID] {
			return true
		}
		boundary, found := wf.Status.Nodes[node.BoundaryID]
		if !found {
			return false
		}
		node = boundary
	}
	return false
}

// nodesOf are a try's own node and those that are part of it.
func nodesOf(wf *wfv1.Workflow, try wfv1.NodeStatus) []wfv1.NodeStatus {
	return nodesBy(wf, func(node wfv1.NodeStatus) bool { return isWithin(wf, node, map[string]bool{try.ID: true}) })
}

// retrying is where a Workflow is that tries something more than once.
type retrying struct {
	// tries counts the tries, the present one included.
	tries int
	// failed are the nodes of the newest try that has failed.
	failed []wfv1.NodeStatus
	// waits says that it is the latest, and that Argo waits or decides whether
	// there is to be another.
	waits bool
}

// retryOf is where a Workflow is that has not ended; false while its first try
// goes on.
func retryOf(wf *wfv1.Workflow) (retrying, bool) {
	for _, node := range latestNodes(wf) {
		tries := triesOf(wf, node)
		if node.Phase.Fulfilled(node.TaskResultSynced) || len(tries) == 0 {
			continue
		}
		r := retrying{tries: len(tries), waits: tries[len(tries)-1].FailedOrError()}
		if r.waits {
			r.failed = nodesOf(wf, tries[len(tries)-1])
			return r, true
		}
		if len(tries) > 1 {
			r.failed = nodesOf(wf, tries[len(tries)-2])
			return r, true
		}
	}
	return retrying{}, false
}

// why says what went wrong in a try, in its step's words if it left any.
func (r retrying) why() string {
	for _, node := range r.failed {
		for _, parameter := range outputs(node.Outputs) {
			if parameter.GlobalName != contract.OutputReport || parameter.Value == nil {
				continue
			}
			if left, err := report.Parse(parameter.Value.String()); err == nil && left.Failure != nil {
				return stepFailure(left.Failure)
			}
		}
	}
	return cmp.Or(firstWords(r.failed, ""), "it gives no message")
}
