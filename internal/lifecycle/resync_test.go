package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// Argo missed the event that it needs to create the pod.
func TestNextStepResync(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	const first, second = "2026-03-01T12:00:10Z", "2026-03-01T12:01:10Z"
	for name, tt := range map[string]struct {
		passed     time.Duration
		annotation string
		want       string
		requeue    time.Duration
	}{
		"too early":        {passed: 4 * time.Second, requeue: 6 * time.Second},
		"due":              {passed: 10 * time.Second, want: first, requeue: time.Minute},
		"done":             {passed: 30 * time.Second, annotation: first, requeue: 40 * time.Second},
		"due again":        {passed: 75 * time.Second, annotation: first, want: second, requeue: 55 * time.Second},
		"after a restart":  {passed: 12 * time.Second, annotation: "2026-03-01T11:00:00Z", want: first, requeue: 58 * time.Second},
		"a user wrote it":  {passed: 12 * time.Second, annotation: "soon", want: first, requeue: 58 * time.Second},
		"other clock runs": {passed: 12 * time.Second, annotation: second, want: first, requeue: 58 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
			if tt.annotation != "" {
				wf.Annotations[v1alpha1.AnnotationResync] = tt.annotation
			}
			got := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, PodMissing: true, TemplateFound: true, Now: builders.Epoch.Add(tt.passed)}, options)
			assert.Equal(t, tt.requeue, got.RequeueAfter)
			assert.Equal(t, v1alpha1.ReasonWorkflowRunning, got.Status.Conditions[0].Reason)
			if tt.want == "" {
				assert.Nil(t, got.Resync)
				return
			}
			require.NotNil(t, got.Resync)
			assert.Equal(t, map[string]string{v1alpha1.AnnotationResync: tt.want}, got.Resync.Annotations)
			assert.Equal(t, wf.ResourceVersion, got.Resync.ResourceVersion)
			assert.Empty(t, got.Delete)
		})
	}
}

// Argo waits for containers of a pod that does not exist.
func TestNextStepLostWorkflow(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	wf := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()
	pod := wf.Status.Nodes[builders.PodNode(wf)]
	pod.Phase = wfv1.NodeError
	wf.Status.Nodes[pod.ID] = pod
	observe := func(passed time.Duration) lifecycle.Step {
		return nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, PodMissing: true, TemplateFound: true, Now: builders.Epoch.Add(passed)}, options)
	}
	assert.Empty(t, observe(9*time.Second).Delete)
	lost := observe(10 * time.Second)
	assert.Equal(t, []*wfv1.Workflow{wf}, lost.Delete)
	assert.Nil(t, lost.Resync)

	next := nextStep(lifecycle.Observed{Version: after(mv, lost), TemplateFound: true, Now: builders.Epoch.Add(time.Minute)}, options)
	require.NotNil(t, next.Create)
	assert.Equal(t, "mv-3-1c072-2", next.Create.Name)

	for id, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer {
			node.Phase = wfv1.NodeError
			wf.Status.Nodes[id] = node
		}
	}
	assert.Empty(t, observe(time.Minute).Delete, "Argo decides whether to retry")
}

func TestNextStepResyncOnlyWhereAPodIsMissing(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	suspended := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()
	suspended.Spec.Suspend = ptr.To(true)
	approval := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()
	approval.Status.Nodes["approval"] = wfv1.NodeStatus{ID: "approval", Type: wfv1.NodeTypeSuspend, Phase: wfv1.NodeRunning}
	locked := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()
	locked.Status.Synchronization = &wfv1.SynchronizationStatus{Mutex: &wfv1.MutexStatus{Waiting: []wfv1.MutexHolding{{Mutex: "default/Mutex/builds"}}}}
	for name, o := range map[string]lifecycle.Observed{
		"its pod runs":                {Workflows: []*wfv1.Workflow{builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()}},
		"Argo has not noticed it":     {Workflows: []*wfv1.Workflow{builders.MakeWorkflow(mv, 1).Obj()}, PodMissing: true},
		"a node waits for a lock":     {Workflows: []*wfv1.Workflow{builders.MakeWorkflow(mv, 1).WaitingForLock().Obj()}, PodMissing: true},
		"a Workflow waits for a lock": {Workflows: []*wfv1.Workflow{locked}, PodMissing: true},
		"a user suspended it":         {Workflows: []*wfv1.Workflow{suspended}, PodMissing: true},
		"its template waits":          {Workflows: []*wfv1.Workflow{approval}, PodMissing: true},
		"it is terminated":            {Workflows: []*wfv1.Workflow{builders.MakeWorkflow(mv, 1).Running("").Obj()}, PodMissing: true, Now: builders.Epoch.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			o.Version, o.TemplateFound = mv, true
			if o.Now.IsZero() {
				o.Now = builders.Epoch.Add(time.Minute)
			}
			assert.Nil(t, nextStep(o, options).Resync)
		})
	}
}
