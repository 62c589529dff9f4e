package integration

import (
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAMissingHostPathEndsTheWorkflow(t *testing.T) {
	op := startOperator(t, shared)
	s, wf := newBuild(t)
	s.argo.runs(wf, contract.StepMountCheck)
	pod := s.argo.startsPod(wf)
	s.kubelet.event(pod, "FailedMount", "MountVolume.SetUp failed for volume \"push-secret\" : failed to sync secret cache")
	waiting := s.awaitReason(resnet, v1alpha1.ReasonVolumeMountFailed)
	assert.Contains(t, waiting.Status.Message, "waits for a volume: MountVolume.SetUp failed for volume \"push-secret\"")
	before := op.wire.changes(s.namespace)

	s.kubelet.cannotMount(pod, "/models/resnet/1")

	mv := s.awaitReason(resnet, v1alpha1.ReasonSourceMissing)
	assert.Equal(t, stalled, states(mv))
	assert.Contains(t, mv.Status.Message, "Node node-1 has no directory /models/resnet/1")
	assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
	want := mv.Status.Message
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		s.get(c, wf.Name, wf)
		assert.Equal(c, wfv1.ShutdownStrategyTerminate, wf.Spec.Shutdown)
	}, deadline, tick)
	assert.Equal(t, wfv1.WorkflowRunning, wf.Status.Phase, "the status in the same object is Argo's and stays")
	op.settles(t, shared)
	// A pass that does not see yet that the Workflow was told tells it again,
	// which changes nothing.
	assert.Equal(t, []string{"patch modelversions/status", "patch workflows"}, slices.Compact(op.wire.changes(s.namespace)[len(before):]))

	// Argo deletes the pod, and writes into a Workflow that still runs, before
	// that has ended.
	require.NoError(t, s.client.Delete(t.Context(), pod))
	s.get(t, pod.Name, pod)
	s.argo.runs(wf, contract.StepMountCheck)
	op.settles(t, shared)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(s.version(resnet)))

	s.argo.endsWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	mv = s.awaitFollows(resnet, wf, wfv1.WorkflowFailed)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(mv))
	assert.Equal(t, want, mv.Status.Message)

	// A person's retry is a new run, which the pod that it replaces has no say
	// in, and what ends that run is theirs.
	wf = s.argo.retry(wf)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	op.settles(t, shared)
	s.get(t, wf.Name, wf)
	assert.Empty(t, wf.Spec.Shutdown)
	s.argo.endsWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowTerminated)
}

// The folder may have come a moment late: kubelet tried again, and the event
// is a matter of the past.
func TestAFolderThatWasMissingIsNotHeldAgainstABuildThatRuns(t *testing.T) {
	op := startOperator(t, shared)
	s, wf := newBuild(t)
	s.awaitFollows(resnet, wf, "")
	op.stop()
	pod := s.argo.startsPod(wf)
	s.kubelet.cannotMount(pod, "/models/resnet/1")
	s.kubelet.runs(pod)
	s.argo.runs(wf, contract.StepBuild)

	op = startOperator(t, shared)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	op.settles(t, shared)
	s.get(t, wf.Name, wf)
	assert.Empty(t, wf.Spec.Shutdown)
}
