package lifecycle_test

import (
	"strings"
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

func TestNextStepPendingPod(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	pending := func(message string, change ...func(*wfv1.NodeStatus)) *wfv1.Workflow {
		wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
		pod := wf.Status.Nodes[builders.PodNode(wf)]
		pod.Message, pod.StartedAt = message, metav1.NewTime(builders.Epoch)
		for _, each := range change {
			each(&pod)
		}
		wf.Status.Nodes[pod.ID] = pod
		return wf
	}
	locked := func(pod *wfv1.NodeStatus) {
		pod.SynchronizationStatus = &wfv1.NodeSynchronizationStatus{Waiting: "default/Mutex/a"}
	}
	const quota = `pods "mv-3-1c072-1" is forbidden: exceeded quota: small`
	for name, tc := range map[string]struct {
		wf            *wfv1.Workflow
		podStarted    bool
		minutes       int
		wantReason    string
		wantTerminate bool
	}{
		"initializing":                           {pending("PodInitializing"), false, 1, v1alpha1.ReasonWorkflowRunning, false},
		"initializing for too long":              {pending("PodInitializing"), false, 15, v1alpha1.ReasonPodNotStarted, true},
		"started, but Argo does not show it yet": {pending("PodInitializing"), true, 60, v1alpha1.ReasonWorkflowRunning, false},
		"waiting for a lock of the template":     {pending("Waiting for default/Mutex/a lock", locked), false, 60, v1alpha1.ReasonWorkflowRunning, false},
		"quota exceeded":                         {pending(quota), false, 1, v1alpha1.ReasonPodNotStarted, false},
		"quota exceeded for too long":            {pending(quota), false, 16, v1alpha1.ReasonPodNotStarted, true},
		"unknown reason":                         {pending("Evil: spirits"), false, 1, v1alpha1.ReasonPodNotStarted, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := builders.Epoch.Add(time.Duration(tc.minutes) * time.Minute)
			var started []string
			if tc.podStarted {
				started = []string{builders.PodNode(tc.wf)}
			}
			got := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{tc.wf}, StartedPods: started, TemplateFound: true, Now: now}, options)
			assert.Equal(t, tc.wantReason, got.Status.Conditions[0].Reason)
			assert.Equal(t, tc.wantTerminate, got.Terminate != nil)
			if tc.wantReason == v1alpha1.ReasonPodNotStarted && strings.Contains(tc.wf.Status.Nodes[builders.PodNode(tc.wf)].Message, "quota") {
				assert.Contains(t, got.Status.Message, "exceeded quota: small. Free resources in namespace default (kubectl describe quota -n default), or ask the platform team to raise the quota")
			}
		})
	}
}

// Argo's clock and the API server's are ten minutes off. Neither ends a build early, nor
// is it waited for longer than pendingSeconds.
func TestNextStepPendingOtherClocks(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	for name, off := range map[string]time.Duration{"behind": -10 * time.Minute, "equal": 0, "ahead": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			theirs := builders.Epoch.Add(off)
			notNoticed := builders.MakeWorkflow(mv, 1).Created(theirs).Obj()
			wf := builders.MakeWorkflow(mv, 1).Created(theirs).Running("").Obj()
			pod := wf.Status.Nodes[builders.PodNode(wf)]
			pod.StartedAt = metav1.NewTime(theirs)
			wf.Status.Nodes[pod.ID] = pod
			after := func(wf *wfv1.Workflow, passed time.Duration) lifecycle.Step {
				return nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: builders.Epoch.Add(passed)}, options)
			}

			early := after(wf, 14*time.Minute)
			assert.Nil(t, early.Terminate)
			assert.Equal(t, time.Minute, early.RequeueAfter)
			assert.NotNil(t, after(wf, 15*time.Minute).Terminate)

			assert.Equal(t, time.Minute, after(notNoticed, time.Minute).RequeueAfter)
			assert.Equal(t, v1alpha1.ReasonWorkflowPending, after(notNoticed, time.Minute).Status.Conditions[0].Reason)
			assert.Equal(t, v1alpha1.ReasonArgoUnavailable, after(notNoticed, 2*time.Minute).Status.Conditions[0].Reason)
		})
	}
}

// A restart of the operator does not take back that Argo has not noticed a Workflow.
func TestNextStepNotNoticedAfterRestart(t *testing.T) {
	s := newScenario(t)
	s.pass()
	s.after(2 * time.Minute)
	s.pass()
	require.Equal(t, v1alpha1.ReasonArgoUnavailable, lifecycle.ReadyReason(s.mv()))

	s.observed.WaitsSince = s.observed.Now
	s.pass()
	assert.Equal(t, v1alpha1.ReasonArgoUnavailable, lifecycle.ReadyReason(s.mv()))
	s.updatePass(runningStep(contract.StepBuild))
	assert.Equal(t, v1alpha1.ReasonWorkflowRunning, lifecycle.ReadyReason(s.mv()))
}

// A node is gone. Its pods stay, and Argo considers them running.
func TestNextStepTerminatingPod(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	wf := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Progress("1000/4000").Obj()
	const runs = "Workflow mv-3-1c072-1 runs step build. 25% of the model copied"
	for name, tt := range map[string]struct {
		pod           string
		passed        time.Duration
		reason, want  string
		requeue       time.Duration
		wantedDeleted []*wfv1.Workflow
	}{
		"not deleted":      {"", time.Hour, v1alpha1.ReasonWorkflowRunning, runs, 0, nil},
		"just deleted":     {"pod-1", time.Minute, v1alpha1.ReasonWorkflowRunning, runs, 4 * time.Minute, nil},
		"deleted long ago": {"pod-1", 5 * time.Minute, v1alpha1.ReasonPodLost, "Pod pod-1 of Workflow mv-3-1c072-1 was deleted and has not ended within 5m0s, as on a node that is gone. The Workflow is deleted, and the next attempt starts", 0, []*wfv1.Workflow{wf}},
	} {
		t.Run(name, func(t *testing.T) {
			got := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TerminatingPod: tt.pod, TemplateFound: true, Now: builders.Epoch.Add(tt.passed)}, options)
			assert.Equal(t, tt.want, got.Status.Message)
			assert.Equal(t, tt.requeue, got.RequeueAfter)
			assert.Equal(t, tt.reason, got.Status.Conditions[0].Reason)
			assert.Equal(t, v1alpha1.ImageBuilding, got.Status.ImageBuildPhase)
			assert.Equal(t, tt.wantedDeleted, got.Delete)
			assert.Nil(t, got.Terminate, "no kubelet ends the pod")
		})
	}
}

func TestWaitsFor(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	created := builders.MakeWorkflow(mv, 1)
	pending := func(startedAt time.Time) *wfv1.Workflow {
		wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
		pod := wf.Status.Nodes[builders.PodNode(wf)]
		pod.StartedAt = metav1.NewTime(startedAt)
		wf.Status.Nodes[pod.ID] = pod
		return wf
	}
	first := pending(builders.Epoch)
	pod := builders.PodNode(first)
	waits := lifecycle.WaitsFor(lifecycle.Observed{Followed: first})

	assert.NotEmpty(t, waits)
	assert.NotEqual(t, waits, lifecycle.WaitsFor(lifecycle.Observed{Followed: pending(builders.Epoch.Add(time.Minute))}), "a retry has another pod with the same ID")
	assert.NotEqual(t, waits, lifecycle.WaitsFor(lifecycle.Observed{Followed: created.Obj()}))
	assert.NotEmpty(t, lifecycle.WaitsFor(lifecycle.Observed{Followed: created.Obj()}), "Argo has not noticed it")
	running := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()
	assert.NotEmpty(t, lifecycle.WaitsFor(lifecycle.Observed{Followed: running, TerminatingPod: "pod-1"}))
	assert.NotEmpty(t, lifecycle.WaitsFor(lifecycle.Observed{Followed: running, PodMissing: true}))
	for name, o := range map[string]lifecycle.Observed{
		"no Workflow":            {},
		"pod with gates":         {Followed: first, QueuedPods: []lifecycle.QueuedPod{{Node: pod, Gates: []string{"example.com/gate"}}}},
		"pod that has started":   {Followed: first, StartedPods: []string{pod}},
		"running step":           {Followed: running},
		"waiting for a lock":     {Followed: builders.MakeWorkflow(mv, 1).WaitingForLock().Obj()},
		"Workflow that succeeds": {Followed: builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()},
	} {
		assert.Empty(t, lifecycle.WaitsFor(o), name)
	}
}

// A claim can have a hostPath volume whose directory is gone. Only for localStorage
// does this mean that the source is missing.
func TestNextStepMissingHostPathOfClaim(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").Claim("trained-models", "").Obj()
	const message = `MountVolume.SetUp failed for volume "pv-1" : hostPath type check failed: /data is not a directory`
	wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
	o := lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: builders.Epoch}
	o.MountFailure = &lifecycle.MountFailure{WorkflowUID: string(wf.UID), Messages: []string{message}}

	got := nextStep(o, options)
	assert.Equal(t, v1alpha1.ReasonVolumeMountFailed, got.Status.Conditions[0].Reason)
	assert.Contains(t, got.Status.Message, message)
	assert.Nil(t, got.Terminate)
}

// Kubelet keeps the event of a mount that failed at first. When a container reports
// a later problem, that problem blocks the pod.
func TestNextStepMountFailureIsSuperseded(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").Claim("trained-models", "").Obj()
	const message = `MountVolume.SetUp failed for volume "push-secret" : failed to sync secret cache: timed out waiting for the condition`
	tests := map[string]struct{ pod, want string }{
		"unschedulable message is outdated": {"Unschedulable: 0/1 nodes are available", v1alpha1.ReasonVolumeMountFailed},
		"no message":                        {"", v1alpha1.ReasonVolumeMountFailed},
		"initializing":                      {"PodInitializing", v1alpha1.ReasonVolumeMountFailed},
		"ConfigMap of a container missing":  {`CreateContainerConfigError: configmap "settings" not found`, v1alpha1.ReasonPodNotStarted},
		"image not pulled":                  {"ErrImagePull: not found", v1alpha1.ReasonImagePullFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
			pod := wf.Status.Nodes[builders.PodNode(wf)]
			pod.Message = tt.pod
			wf.Status.Nodes[pod.ID] = pod
			o := lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: builders.Epoch}
			o.MountFailure = &lifecycle.MountFailure{WorkflowUID: string(wf.UID), Messages: []string{message}}
			assert.Equal(t, tt.want, nextStep(o, options).Status.Conditions[0].Reason)
		})
	}
}
