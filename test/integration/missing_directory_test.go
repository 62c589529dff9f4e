package integration

import (
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestMissingDirectory(t *testing.T) {
	op := startOperator(t, shared)
	s, wf := startBuild(t)
	s.argo.runStep(wf, contract.StepMountCheck)
	pod := s.argo.createPod(wf)
	s.kubelet.createEvent(pod, "FailedMount", "MountVolume.SetUp failed for volume \"push-secret\" : failed to sync secret cache")
	mv := s.awaitReason(resnet, v1alpha1.ReasonVolumeMountFailed)
	assert.Contains(t, mv.Status.Message, "MountVolume.SetUp failed for volume \"push-secret\"")
	before := op.transport.changes(s.namespace)

	s.kubelet.failMount(pod)

	mv = s.awaitReason(resnet, v1alpha1.ReasonSourceMissing)
	assert.Equal(t, stalled, conditionStatuses(mv))
	assert.Contains(t, mv.Status.Message, "node-1")
	assert.Contains(t, mv.Status.Message, "/models/resnet/1")
	assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
	want := mv.Status.Message
	s.awaitTerminated(wf)
	assert.Equal(t, wfv1.WorkflowRunning, wf.Status.Phase, "the operator does not change Argo's status")
	op.drainQueue(t, shared)
	// A reconciliation whose cache does not show the terminated Workflow yet
	// terminates it again, which changes nothing.
	assert.Equal(t, []string{"patch modelversions/status", "patch workflows"}, slices.Compact(op.transport.changes(s.namespace)[len(before):]))

	// Before the Workflow finishes, Argo deletes the pod and updates the
	// Workflow, which still runs.
	require.NoError(t, s.client.Delete(t.Context(), pod))
	s.get(t, pod.Name, pod)
	s.argo.runStep(wf, contract.StepMountCheck)
	op.drainQueue(t, shared)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(s.version(resnet)))

	s.argo.finishWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	mv = s.awaitWorkflowPhase(resnet, wf, wfv1.WorkflowFailed)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(mv))
	assert.Equal(t, want, mv.Status.Message)

	// After a user's retry, the events of the deleted pod have no effect, and a
	// termination is the user's.
	wf = s.argo.retry(wf)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	op.drainQueue(t, shared)
	s.get(t, wf.Name, wf)
	assert.Empty(t, wf.Spec.Shutdown)
	s.argo.finishWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowTerminated)
}

// The directory may appear a moment late: kubelet retries, the pod starts, and
// the old event no longer matters.
func TestMissingDirectoryCreatedLater(t *testing.T) {
	op := startOperator(t, shared)
	s, wf := startBuild(t)
	s.awaitWorkflowPhase(resnet, wf, "")
	op.stop()
	pod := s.argo.createPod(wf)
	s.kubelet.failMount(pod)
	s.kubelet.startPod(pod)
	s.argo.runStep(wf, contract.StepBuild)

	op = startOperator(t, shared)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	op.drainQueue(t, shared)
	s.get(t, wf.Name, wf)
	assert.Empty(t, wf.Spec.Shutdown)
}

// Argo creates no pod for a Workflow that was retried at once, because it has missed
// that the pod before it is gone, waits for the results of that pod, or has its label for Workflows that have ended.
func TestRunsWithoutPod(t *testing.T) {
	op := startOperator(t, shared)
	s, wf := startBuild(t)
	pod := s.argo.createPod(wf)
	s.argo.setPodPending(wf, "")
	var node wfv1.NodeStatus
	s.argo.update(wf, func(wf *wfv1.Workflow) {
		wf.Labels[labelCompleted] = "true"
		node = wf.Status.Nodes[wf.Name]
		node.Phase, node.TaskResultSynced = wfv1.NodeError, ptr.To(false)
		wf.Status.Nodes[node.ID] = node
	})
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	op.drainQueue(t, shared)
	require.NoError(t, s.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))

	require.EventuallyWithT(t, func(c *assert.CollectT) {
		s.get(t, wf.Name, wf)
		assert.NotEmpty(c, wf.Annotations[v1alpha1.AnnotationResync])
		assert.NotContains(c, wf.Labels, labelCompleted)
	}, deadline, tick)
	result := &wfv1.WorkflowTaskResult{}
	s.get(t, node.ID, result)
	assert.Equal(t, map[string]string{labelWorkflow: wf.Name, labelReported: "true"}, result.Labels)
	assert.Equal(t, v1alpha1.ReasonWorkflowRunning, readyReason(s.version(resnet)), "it is neither failed nor terminated")
	assert.Empty(t, wf.Spec.Shutdown)
}
