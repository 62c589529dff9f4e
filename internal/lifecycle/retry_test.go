package lifecycle_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// chained returns a Workflow whose nodes are each part of the next one, as a user
// can write them: the last one is part of the first for a cycle.
func chained(n int, cycle bool) *wfv1.Workflow {
	wf := makeWorkflow().Running("build").Obj()
	wf.Status.Nodes = wfv1.Nodes{}
	for i := range n {
		id := fmt.Sprint(i)
		node := wfv1.NodeStatus{ID: id, BoundaryID: fmt.Sprint(i + 1), Type: wfv1.NodeTypeContainer, Phase: wfv1.NodeFailed, Message: "failed " + id}
		if cycle && i == n-1 {
			node.BoundaryID = "0"
		}
		wf.Status.Nodes[id] = node
	}
	return wf
}

// A Workflow has room for some 30,000 nodes. In quadratic time this test would take
// hours.
func TestWorkflowOutcomeOfAChainOfNodes(t *testing.T) {
	for name, cycle := range map[string]bool{"a chain": false, "a cycle": true} {
		t.Run(name, func(t *testing.T) {
			wf := chained(50_000, cycle)
			wf.Status.Nodes["retry"] = wfv1.NodeStatus{ID: "retry", Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeRunning, Children: []string{"49999", "none"}}
			assert.Equal(t, v1alpha1.ReasonWorkflowRunning, lifecycle.WorkflowOutcome(wf).Reason)
			wf.Status.Phase = wfv1.WorkflowFailed
			assert.Equal(t, v1alpha1.ReasonWorkflowFailed, lifecycle.WorkflowOutcome(wf).Reason)
		})
	}
}

func TestWorkflowOutcomeIgnoresSupersededTries(t *testing.T) {
	for name, tc := range map[string]struct {
		tries []string
		want  string
	}{
		"the chain is the last try":      {[]string{"again", "2"}, "Workflow mv-3-1c072-1 failed: failed 0"},
		"another try followed the chain": {[]string{"2", "again"}, "Workflow mv-3-1c072-1 failed: tried again"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := chained(3, false)
			wf.Status.Phase = wfv1.WorkflowFailed
			wf.Status.Nodes["retry"] = wfv1.NodeStatus{ID: "retry", Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeFailed, Children: tc.tries}
			wf.Status.Nodes["again"] = wfv1.NodeStatus{ID: "again", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed, Message: "tried again"}
			assert.Equal(t, tc.want, lifecycle.WorkflowOutcome(wf).Message)
		})
	}
}

// A user can name a node as its own child as often as a Workflow has room for.
func TestWorkflowOutcomeOfRepeatedChildren(t *testing.T) {
	wf := makeWorkflow().Running("build").Obj()
	children := slices.Repeat([]string{"b"}, 100_000)
	wf.Status.Nodes["a"] = wfv1.NodeStatus{ID: "a", Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeRunning, Children: children}
	wf.Status.Nodes["b"] = wfv1.NodeStatus{ID: "b", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed, Message: "failed"}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	assert.Equal(t, v1alpha1.ReasonRetrying, lifecycle.WorkflowOutcome(wf).Reason)
	runtime.ReadMemStats(&after)
	// A copy of a node takes 368 bytes.
	assert.Less(t, (after.TotalAlloc-before.TotalAlloc)/uint64(len(children)), uint64(200), "bytes for each child")
}
