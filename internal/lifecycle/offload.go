package lifecycle

import (
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// HidesNodes reports whether a Workflow does not show its nodes: Argo has stored them
// in its database, as it does for all Workflows with ALWAYS_OFFLOAD_NODE_STATUS, or
// has compressed them, as it does for those that are larger than what is read. The
// phase, the message and the outputs then are all that is known.
func HidesNodes(wf *wfv1.Workflow) bool {
	return wf.Status.IsOffloadNodeStatus() || wf.Status.CompressedNodes != ""
}

// nodesOfHidden returns the nodes that stand for those of a Workflow that hides
// them: of one that failed, a node with its message, which Argo copies from the node
// that failed.
func nodesOfHidden(wf *wfv1.Workflow) []wfv1.NodeStatus {
	phase := wfv1.NodePhase(wf.Status.Phase)
	if !phase.FailedOrError() {
		return nil
	}
	return []wfv1.NodeStatus{{ID: wf.Name, Type: wfv1.NodeTypePod, Phase: phase, Message: wf.Status.Message, FinishedAt: wf.Status.FinishedAt}}
}

// executorFailed is how the message begins of a node whose steps have succeeded, and
// where Argo's own container wait then failed (inferFailedReason in v3.7): it saves
// logs and artifacts.
const executorFailed = "wait: "

// builtDespiteArgo returns the report of a build that has succeeded although its
// Workflow failed: all steps have, and the report proves the push, but Argo could not
// archive their logs. A step that a custom template adds, and that failed, counts.
func builtDespiteArgo(wf run) (report.Report, bool) {
	if wf.Spec.Shutdown.Enabled() || !onlyExecutorFailed(wf.nodes) {
		return report.Report{}, false
	}
	run, err := wf.report()
	if err != nil || checkContent(wf.Workflow, run) != nil {
		return report.Report{}, false
	}
	return run, HidesNodes(wf.Workflow) || stepsSucceeded(wf)
}

// onlyExecutorFailed reports whether Argo's container wait failed in a pod, and nothing
// else did. Nodes that consist of others fail with them.
func onlyExecutorFailed(nodes []wfv1.NodeStatus) bool {
	failed := false
	for _, node := range nodes {
		switch {
		case !node.FailedOrError(), slices.Contains(compositeNodes, node.Type):
		case node.Type == wfv1.NodeTypePod && strings.HasPrefix(node.Message, executorFailed):
			failed = true
		default:
			return false
		}
	}
	return failed
}

// compositeNodes are the types of nodes that consist of others.
var compositeNodes = []wfv1.NodeType{wfv1.NodeTypeDAG, wfv1.NodeTypeRetry, wfv1.NodeTypeSteps, wfv1.NodeTypeStepGroup, wfv1.NodeTypeTaskGroup}

func stepsSucceeded(wf run) bool {
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		if node := wf.stepNode(step); node == nil || node.Phase != wfv1.NodeSucceeded {
			return false
		}
	}
	return true
}
