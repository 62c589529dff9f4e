package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/test/builders"
)

// Kueue holds a pod back for an hour. The time that it may take to start begins when
// it is admitted.
func TestNextStepQueuedPod(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
	node := wf.Status.Nodes[builders.PodNode(wf)]
	gated := []lifecycle.QueuedPod{{Node: node.ID, Gates: []string{"kueue.x-k8s.io/admission", "example.com/budget"}, Message: "insufficient unused quota for cpu\nin flavor default."}}
	since, what := builders.Epoch, ""
	at := func(minutes int, pods []lifecycle.QueuedPod) lifecycle.Step {
		t.Helper()
		o := lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, QueuedPods: pods, TemplateFound: true, Now: builders.Epoch.Add(time.Duration(minutes) * time.Minute)}
		o.Followed = wf
		if waits := lifecycle.WaitsFor(o); waits != what {
			since, what = o.Now, waits
		}
		o.WaitsSince = since
		step := nextStep(o, options)
		mv = mv.DeepCopy()
		mv.Status = step.Status
		return step
	}

	for _, minutes := range []int{1, 60} {
		step := at(minutes, gated)
		assert.Equal(t, v1alpha1.ReasonQueued, step.Status.Conditions[0].Reason)
		assert.Equal(t, "Workflow mv-3-1c072-1 is queued: its pod waits for the removal of the scheduling gates kueue.x-k8s.io/admission, example.com/budget: insufficient unused quota for cpu in flavor default. To see what Kueue reports: kubectl describe workloads.kueue.x-k8s.io -n default", step.Status.Message)
		assert.Nil(t, step.Terminate)
		assert.Zero(t, step.RequeueAfter, "the pod's gates are watched")
	}
	admitted := at(60, nil)
	assert.Equal(t, v1alpha1.ReasonWorkflowRunning, admitted.Status.Conditions[0].Reason)
	assert.Equal(t, 15*time.Minute, admitted.RequeueAfter)
	assert.Equal(t, builders.Epoch.Add(time.Hour), admitted.Status.Workflow.QueuedUntil.Time)
	again := at(70, nil)
	assert.Equal(t, 5*time.Minute, again.RequeueAfter, "later passes do not start again")
	assert.Equal(t, admitted.Status.Workflow.QueuedUntil, again.Status.Workflow.QueuedUntil)
	late := at(75, nil)
	require.NotNil(t, late.Terminate)
	assert.Equal(t, v1alpha1.ReasonPodNotStarted, late.Status.Conditions[0].Reason)
}

func TestNextStepQueuedPodOfAnotherQueue(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
	for name, tt := range map[string]struct{ node, want string }{
		"another controller's": {builders.PodNode(wf), v1alpha1.ReasonQueued},
		"another pod":          {"other", v1alpha1.ReasonWorkflowRunning},
	} {
		t.Run(name, func(t *testing.T) {
			pods := []lifecycle.QueuedPod{{Node: tt.node, Gates: []string{"example.com/gate"}}}
			step := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, QueuedPods: pods, TemplateFound: true, Now: builders.Epoch}, options)
			assert.Equal(t, tt.want, step.Status.Conditions[0].Reason)
			assert.NotContains(t, step.Status.Message, "Kueue")
			assert.Equal(t, tt.want == v1alpha1.ReasonQueued, strings.HasSuffix(step.Status.Message, "scheduling gates example.com/gate"))
		})
	}
}
