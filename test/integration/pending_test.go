package integration

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAPodThatDoesNotStartIsWaitedForAndSaidSo(t *testing.T) {
	startOperator(t, shared)
	for name, tc := range map[string]struct{ argoSays, wantReason, wantMessage string }{
		"no node takes it":        {"Unschedulable: 0/1 nodes are available: 1 Insufficient memory.", v1alpha1.ReasonUnschedulable, "waits for a node: 0/1 nodes are available: 1 Insufficient memory"},
		"an image is not there":   {"ImagePullBackOff: Back-off pulling image", v1alpha1.ReasonImagePullFailed, "waits for the image of a step: ImagePullBackOff: Back-off pulling image"},
		"a container is not made": {"CreateContainerError: context deadline exceeded", v1alpha1.ReasonPodNotStarted, "waits for its pod: CreateContainerError: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, wf := newBuild(t)
			s.argo.waitsForPod(wf, tc.argoSays)

			mv := s.awaitReason(resnet, tc.wantReason)
			assert.Equal(t, inProgress, states(mv))
			assert.Equal(t, "Workflow "+wf.Name+" "+tc.wantMessage, mv.Status.Message)

			s.argo.runs(wf, contract.StepMountCheck)
			s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		})
	}
}

func TestAPodThatDoesNotStartIsNotWaitedForForEver(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 1 }))
	s, wf := newBuild(t)
	s.argo.waitsForPod(wf, "Unschedulable: 0/1 nodes are available: 1 node(s) were unschedulable.")

	// Nothing more happens: the operator looks again by itself.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		s.get(c, wf.Name, wf)
		assert.Equal(c, wfv1.ShutdownStrategyTerminate, wf.Spec.Shutdown)
	}, deadline, tick)
	mv := s.awaitReason(resnet, v1alpha1.ReasonUnschedulable)
	assert.Equal(t, stalled, states(mv))
	assert.Contains(t, mv.Status.Message, "1 node(s) were unschedulable. The pod did not start within 1s, so the build was terminated. After fixing this, rebuild with: ")
	want := mv.Status

	s.argo.endsWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	mv = s.awaitFollows(resnet, wf, wfv1.WorkflowFailed)
	assert.Equal(t, want.Conditions, mv.Status.Conditions)
	op.settles(t, shared)
	assert.Len(t, s.argo.workflows(), 1)
}

// Argo's controller may be away while the pod starts: its last word is old.
func TestAPodThatHasStartedIsLeftAloneWhateverArgoSaid(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 2 }))
	s, wf := newBuild(t)
	pod := s.argo.startsPod(wf)
	s.kubelet.runs(pod)
	s.argo.waitsForPod(wf, "PodInitializing")
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)

	require.Never(t, func() bool {
		s.get(t, wf.Name, wf)
		return wf.Spec.Shutdown != ""
	}, 4*time.Second, tick)
	op.settles(t, shared)
	assert.Equal(t, v1alpha1.ReasonWorkflowRunning, readyReason(s.version(resnet)))
}
