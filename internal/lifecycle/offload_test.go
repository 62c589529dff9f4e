package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// offloaded returns a Workflow whose nodes Argo keeps in its database.
func offloaded(wf *wfv1.Workflow, changes ...func(*wfv1.Workflow)) *wfv1.Workflow {
	wf.Status.Nodes, wf.Status.OffloadNodeStatusVersion = nil, "fnv:1234"
	for _, change := range changes {
		change(wf)
	}
	return wf
}

func message(text string) func(*wfv1.Workflow) {
	return func(wf *wfv1.Workflow) { wf.Status.Message = text }
}

const saveLogs = "wait: Error (exit code 64): failed to put file: Access Denied"

func TestWorkflowOutcomeOffloaded(t *testing.T) {
	good := makeWorkflow().Report()
	failure := makeWorkflow().FailureReport(contract.StepBuild, v1alpha1.ReasonRegistryFull, "no space")
	noOutputs := func(wf *wfv1.Workflow) { wf.Status.Outputs = nil }
	compressed := func(wf *wfv1.Workflow) {
		wf.Status.OffloadNodeStatusVersion, wf.Status.CompressedNodes = "", "H4sIAAAA"
	}
	for name, tt := range map[string]struct {
		workflow   *wfv1.Workflow
		want       lifecycle.State
		wantReason string
		message    string
	}{
		"succeeded":                         {offloaded(makeWorkflow().Succeeded(good).Obj()), lifecycle.StateBuilt, v1alpha1.ReasonSucceeded, "was pushed and verified"},
		"succeeded, compressed":             {offloaded(makeWorkflow().Succeeded(good).Obj(), compressed), lifecycle.StateBuilt, v1alpha1.ReasonSucceeded, "was pushed and verified"},
		"succeeded without a report":        {offloaded(makeWorkflow().Succeeded(good).Obj(), noOutputs), lifecycle.StateFailed, v1alpha1.ReasonReportInvalid, "it has no report"},
		"succeeded with an earlier failure": {offloaded(makeWorkflow().Succeeded(failure).Obj()), lifecycle.StateFailed, v1alpha1.ReasonReportInvalid, "step build reported a failure"},
		"succeeded, after a shutdown": {offloaded(makeWorkflow().Succeeded(good).Obj(), func(wf *wfv1.Workflow) {
			wf.Spec.Shutdown = wfv1.ShutdownStrategyTerminate
		}), lifecycle.StateFailed, v1alpha1.ReasonWorkflowTerminated, "was terminated"},
		"failed with a report":               {offloaded(makeWorkflow().Failed(failure).Obj()), lifecycle.StateFailed, v1alpha1.ReasonRegistryFull, "Step build: no space"},
		"failed without a report":            {offloaded(makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj(), message("main: Error (exit code 1)")), lifecycle.StateFailed, v1alpha1.ReasonWorkflowFailed, "main: Error (exit code 1)"},
		"out of memory":                      {offloaded(makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj(), message("build: OOMKilled (exit code 137)")), lifecycle.StateFailed, v1alpha1.ReasonOutOfMemory, "OOMKilled"},
		"deadline exceeded":                  {offloaded(makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj(), message("Step exceeded its deadline")), lifecycle.StateFailed, v1alpha1.ReasonDeadlineExceeded, "within its deadline"},
		"logs not saved":                     {offloaded(withPhaseError(makeWorkflow().Succeeded(good).Obj()), message(saveLogs)), lifecycle.StateBuilt, v1alpha1.ReasonSucceeded, "Argo could not save the logs of Workflow mv-3-1c072-1: " + saveLogs},
		"a step of a custom template failed": {offloaded(withPhaseError(makeWorkflow().Succeeded(good).Obj()), message("scan: Error (exit code 1)")), lifecycle.StateFailed, v1alpha1.ReasonWorkflowError, "scan: Error (exit code 1)"},
		"running":                            {offloaded(makeWorkflow().Running(contract.StepBuild).Obj()), lifecycle.StateBuilding, v1alpha1.ReasonWorkflowRunning, "Argo keeps its steps in a database, so its progress is not known. To see them: argo get -n default mv-3-1c072-1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := lifecycle.WorkflowOutcome(tt.workflow)
			assert.Equal(t, tt.want, got.State)
			assert.Equal(t, tt.wantReason, got.Reason)
			assert.Contains(t, got.Message, tt.message)
		})
	}
}

// A Workflow that hides its nodes still has a pod, which a node stands for.
func TestNextStepOffloadedPendingPod(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	wf := offloaded(builders.MakeWorkflow(mv, 1).Running("").Obj())
	wf.Status.Nodes = wfv1.Nodes{"pod": {ID: "pod", Type: wfv1.NodeTypePod, Phase: wfv1.NodePending, Message: "Unschedulable: 0/1 nodes are available", StartedAt: metav1.NewTime(builders.Epoch)}}
	o := lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: builders.Epoch.Add(time.Minute)}
	step := nextStep(o, options)
	assert.Equal(t, v1alpha1.ReasonUnschedulable, step.Status.Conditions[0].Reason)
	assert.Equal(t, 14*time.Minute, step.RequeueAfter)
	o.Now = builders.Epoch.Add(time.Hour)
	assert.NotNil(t, nextStep(o, options).Terminate)
}

// Argo archives logs after the steps have ended. If it cannot, its container wait
// fails, and so does the Workflow.
func TestWorkflowOutcomeLogsNotSaved(t *testing.T) {
	logsNotSaved := func(changes ...func(*wfv1.Workflow)) *wfv1.Workflow {
		wf := makeWorkflow().Succeeded(makeWorkflow().Report()).Obj()
		wf.Status.Phase, wf.Status.Message = wfv1.WorkflowError, "No more retries left"
		setRoot(wf, func(n *wfv1.NodeStatus) { n.Phase = wfv1.NodeError })
		setPod(wf, func(n *wfv1.NodeStatus) { n.Phase, n.Message = wfv1.NodeError, saveLogs })
		for _, change := range changes {
			change(wf)
		}
		return wf
	}
	step := func(name string, phase wfv1.NodePhase, message string) func(*wfv1.Workflow) {
		return func(wf *wfv1.Workflow) {
			for id, node := range wf.Status.Nodes {
				if node.Type == wfv1.NodeTypeContainer && node.DisplayName == name {
					node.Phase, node.Message = phase, message
					wf.Status.Nodes[id] = node
				}
			}
		}
	}
	got := lifecycle.WorkflowOutcome(logsNotSaved())
	require.Equal(t, lifecycle.StateBuilt, got.State)
	assert.Equal(t, "Image modelhub/resnet:v1c072 was pushed and verified in the registry. Argo could not save the logs of Workflow mv-3-1c072-1: "+saveLogs, got.Message)
	assert.NotNil(t, got.Report.Image)

	for name, change := range map[string]func(*wfv1.Workflow){
		"a step failed":      step(contract.StepStatusReport, wfv1.NodeFailed, "status-report: Error (exit code 1)"),
		"a step did not end": step(contract.StepStatusReport, wfv1.NodeRunning, ""),
		"another pod failed": func(wf *wfv1.Workflow) {
			wf.Status.Nodes["scan"] = wfv1.NodeStatus{ID: "scan", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed, Message: "main: Error (exit code 1)"}
		},
		"an approval was refused": func(wf *wfv1.Workflow) {
			wf.Status.Nodes["approve"] = wfv1.NodeStatus{ID: "approve", Type: wfv1.NodeTypeSuspend, Phase: wfv1.NodeFailed}
		},
		"the pod failed in another way":    func(wf *wfv1.Workflow) { setPod(wf, func(n *wfv1.NodeStatus) { n.Message = "pod deleted" }) },
		"a user stopped it":                func(wf *wfv1.Workflow) { wf.Spec.Shutdown = wfv1.ShutdownStrategyStop },
		"the report is of another version": func(wf *wfv1.Workflow) { setReport(wf, `{"run":{"workflowUID":"`+string(wf.UID)+`","image":"other"}}`) },
		"there is no report":               func(wf *wfv1.Workflow) { wf.Status.Outputs = nil },
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, lifecycle.StateFailed, lifecycle.WorkflowOutcome(logsNotSaved(change)).State)
		})
	}
}
