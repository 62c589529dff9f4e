package integration

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestPodPending(t *testing.T) {
	startOperator(t, shared)
	for name, tc := range map[string]struct{ nodeMessage, wantReason, wantMessage string }{
		"no node fits":                  {"Unschedulable: 0/1 nodes are available: 1 Insufficient memory.", v1alpha1.ReasonUnschedulable, "0/1 nodes are available: 1 Insufficient memory"},
		"an image cannot be pulled":     {"ImagePullBackOff: Back-off pulling image", v1alpha1.ReasonImagePullFailed, "ImagePullBackOff: Back-off pulling image"},
		"a container cannot be created": {"CreateContainerError: context deadline exceeded", v1alpha1.ReasonPodNotStarted, "CreateContainerError: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, wf := startBuild(t)
			s.argo.setPodPending(wf, tc.nodeMessage)

			mv := s.awaitReason(resnet, tc.wantReason)
			assert.Equal(t, inProgress, conditionStatuses(mv))
			assert.Contains(t, mv.Status.Message, wf.Name)
			assert.Contains(t, mv.Status.Message, tc.wantMessage)

			s.argo.runStep(wf, contract.StepMountCheck)
			s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		})
	}
}

func TestPodPendingTimeout(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 1 }))
	s, wf := startBuild(t)
	s.argo.setPodPending(wf, "Unschedulable: 0/1 nodes are available: 1 node(s) were unschedulable.")

	// No watch event follows: the operator requeues the ModelVersion.
	s.awaitTerminated(wf)
	mv := s.awaitReason(resnet, v1alpha1.ReasonUnschedulable)
	assert.Equal(t, stalled, conditionStatuses(mv))
	assert.Contains(t, mv.Status.Message, "1 node(s) were unschedulable")
	assert.Contains(t, mv.Status.Message, "within 1s")
	assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
	want := mv.Status

	s.argo.finishWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	mv = s.awaitWorkflowPhase(resnet, wf, wfv1.WorkflowFailed)
	assert.Equal(t, want.Conditions, mv.Status.Conditions)
	op.drainQueue(t, shared)
	assert.Len(t, s.argo.workflows(), 1)
}

// Argo's clock is an hour behind or ahead of the operator's. The pod has as much time to
// start as with equal clocks.
func TestPodPendingOtherClock(t *testing.T) {
	const limit = 2 * time.Second
	startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = int64(limit.Seconds()) }))
	for name, off := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, wf := startBuild(t)
			began := time.Now()
			s.argo.update(wf, func(now *wfv1.Workflow) {
				s.argo.setPhase(now, wfv1.WorkflowRunning, "")
				now.Status.StartedAt = metav1.NewTime(began.Add(off))
				setNode(now, "", wfv1.NodePending, "Unschedulable: 0/1 nodes are available")
			})

			s.awaitTerminated(wf)
			assert.GreaterOrEqual(t, time.Since(began), limit)
			s.awaitReason(resnet, v1alpha1.ReasonUnschedulable)
		})
	}
}

// Argo's controller may be down while the pod starts, so that the Workflow's
// status is stale.
func TestPodPendingStaleStatus(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 2 }))
	s, wf := startBuild(t)
	pod := s.argo.createPod(wf)
	s.kubelet.startPod(pod)
	s.argo.setPodPending(wf, "PodInitializing")
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)

	require.Never(t, func() bool {
		s.get(t, wf.Name, wf)
		return wf.Spec.Shutdown != ""
	}, 4*time.Second, tick)
	op.drainQueue(t, shared)
	assert.Equal(t, v1alpha1.ReasonWorkflowRunning, readyReason(s.version(resnet)))
}

// Kueue gates the pod of a build, and admits it after more than the time that it may
// take to start. Argo writes nothing about that.
func TestPodQueued(t *testing.T) {
	startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 2 }))
	s, wf := startBuild(t)
	s.argo.setPodPending(wf, "")
	pod := s.argo.createPod(wf, func(pod *corev1.Pod) {
		pod.Spec.NodeName = ""
		pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "kueue.x-k8s.io/admission"}}
	})
	mv := s.awaitReason(resnet, v1alpha1.ReasonQueued)
	assert.Equal(t, inProgress, conditionStatuses(mv))
	assert.Contains(t, mv.Status.Message, "scheduling gates kueue.x-k8s.io/admission: Scheduling is blocked due to non-empty scheduling gates")
	require.Never(t, func() bool {
		s.get(t, wf.Name, wf)
		return wf.Spec.Shutdown != ""
	}, 4*time.Second, tick)

	pod.Spec.SchedulingGates = nil
	require.NoError(t, s.client.Update(t.Context(), pod))
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	s.awaitTerminated(wf)
	s.awaitReason(resnet, v1alpha1.ReasonPodNotStarted)
}

// Another pod has the claim on another node.
func TestPodPendingContestedClaim(t *testing.T) {
	startOperator(t, shared)
	s := newSandbox(t, shared)
	s.create(claimVersion)
	wf := s.argo.awaitOnlyWorkflow()
	holder := plainPod(s.namespace)
	holder.Name, holder.Spec.NodeName = "web-0", "node-2"
	holder.Spec.Volumes = []corev1.Volume{{Name: "models", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: argument(wf, contract.ParamClaimName)}}}}
	require.NoError(t, s.client.Create(t.Context(), holder))
	s.argo.setPodPending(wf, "")
	pod := s.argo.createPod(wf)
	s.kubelet.createEvent(pod, "FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and can't be attached to another`)

	mv := s.awaitReason(resnet, v1alpha1.ReasonVolumeMountFailed)
	assert.Contains(t, mv.Status.Message, "Multi-Attach error")
	assert.Contains(t, mv.Status.Message, "is used by pod web-0 on node node-2. A ReadWriteOnce claim can be used on one node at a time")
}

// A node is gone: the API server deletes its pods, and they stay, since no kubelet ends
// them. Only the next attempt can finish.
func TestPodTerminating(t *testing.T) {
	startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 2 }))
	s, wf := startBuild(t)
	pod := s.argo.createPod(wf)
	s.kubelet.startPod(pod)
	s.argo.runStep(wf, contract.StepBuild)
	s.awaitMessage("step build")
	require.NoError(t, s.client.Delete(t.Context(), pod))

	second := s.argo.awaitAttempt(s.version(resnet), 2)
	mv := s.awaitWorkflowPhase(resnet, second, "")
	assert.Equal(t, inProgress, conditionStatuses(mv))
	err := s.client.Get(t.Context(), client.ObjectKeyFromObject(wf), &wfv1.Workflow{})
	assert.True(t, apierrors.IsNotFound(err), "Argo releases the lock of a Workflow that is deleted: %v", err)
	s.awaitEvent("ModelVersion", v1alpha1.ReasonPodLost, "Pod "+pod.Name+" of Workflow "+wf.Name+" was deleted and has not ended within 2s")
	s.completeBuild(second)
}
