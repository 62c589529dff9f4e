package lifecycle

import (
	"cmp"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Argo can retry a template by its retryStrategy. A node of type Retry then
// stands for all tries, and each try has its own nodes. Only the last try
// shows the state of the Workflow and its result.

// currentNodes returns a Workflow's nodes without those of tries that another
// try followed, in the order of their IDs.
func currentNodes(wf *wfv1.Workflow) []wfv1.NodeStatus {
	superseded := map[string]bool{}
	for _, node := range wf.Status.Nodes {
		tries := retryChildren(wf, node)
		for _, id := range tries[:max(0, len(tries)-1)] {
			superseded[id] = true
		}
	}
	isSuperseded := within(wf, superseded)
	return nodesWhere(wf, func(node wfv1.NodeStatus) bool { return !isSuperseded(node) })
}

// retryChildren returns the IDs of the tries of a node of type Retry, the first one
// first. Any other node has none. They are not the nodes themselves, which take a
// hundred times the memory of an ID: a user can repeat an ID.
func retryChildren(wf *wfv1.Workflow, node wfv1.NodeStatus) []string {
	var tries []string
	if node.Type != wfv1.NodeTypeRetry {
		return tries
	}
	for _, id := range node.Children {
		if _, found := wf.Status.Nodes[id]; found {
			tries = append(tries, id)
		}
	}
	return tries
}

// within returns whether a node is one of these, or part of one. It follows the
// chain of boundaries of each node only as far as no other node has led, so that
// asking for all nodes takes linear time: a user can write a chain as long as a
// Workflow has room for.
func within(wf *wfv1.Workflow, ids map[string]bool) func(wfv1.NodeStatus) bool {
	known := map[string]bool{}
	return func(node wfv1.NodeStatus) bool {
		var chain []string
		result := false
		for {
			if ids[node.ID] {
				result = true
				break
			}
			if previous, found := known[node.ID]; found {
				result = previous
				break
			}
			chain = append(chain, node.ID)
			known[node.ID] = false // Ends a chain that is a cycle.
			boundary, found := wf.Status.Nodes[node.BoundaryID]
			if !found {
				break
			}
			node = boundary
		}
		for _, id := range chain {
			known[id] = result
		}
		return result
	}
}

// nodesOf returns the node of a try and those that are part of it.
func nodesOf(wf *wfv1.Workflow, try string) []wfv1.NodeStatus {
	return nodesWhere(wf, within(wf, map[string]bool{try: true}))
}

// A retrying Workflow tries something more than once.
type retrying struct {
	// tries counts the tries, the present one included.
	tries int
	// failed are the nodes of the newest try that failed.
	failed []wfv1.NodeStatus
	// pending is true if this is the latest try, and that Argo waits or decides
	// whether there is another one.
	pending bool
}

// retry returns the retries of a Workflow that has not finished, or false
// while its first try runs.
func (r run) retry() (retrying, bool) {
	for _, node := range r.nodes {
		tries := retryChildren(r.Workflow, node)
		if node.Phase.Fulfilled(node.TaskResultSynced) || len(tries) == 0 {
			continue
		}
		last := r.Status.Nodes[tries[len(tries)-1]]
		state := retrying{tries: len(tries), pending: last.FailedOrError()}
		if state.pending {
			state.failed = nodesOf(r.Workflow, tries[len(tries)-1])
			return state, true
		}
		if len(tries) > 1 {
			state.failed = nodesOf(r.Workflow, tries[len(tries)-2])
			return state, true
		}
	}
	return retrying{}, false
}

// cause returns why a try failed: what its step reported, or Argo's message.
func (r retrying) cause() string {
	for _, node := range r.failed {
		for _, parameter := range outputParameters(node.Outputs) {
			if parameter.GlobalName != contract.OutputReport || parameter.Value == nil {
				continue
			}
			if run, err := report.Parse(parameter.Value.String()); err == nil && run.Failure != nil {
				return stepFailure(run.Failure)
			}
		}
	}
	return cmp.Or(firstMessage(r.failed, ""), noMessage)
}
