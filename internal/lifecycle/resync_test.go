package lifecycle_test

import (
	"fmt"
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
			assert.Equal(t, &lifecycle.Resync{Workflow: wf, Due: tt.want}, got.Resync)
		})
	}
}

// Argo waits for the results of a pod that is gone.
func TestNextStepResyncUnreported(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
	pod := wf.Status.Nodes[builders.PodNode(wf)]
	pod.Phase, pod.TaskResultSynced = wfv1.NodeError, ptr.To(false)
	wf.Status.Nodes[pod.ID] = pod
	observe := func() lifecycle.Step {
		return nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, PodMissing: true, TemplateFound: true, Now: builders.Epoch.Add(time.Minute)}, options)
	}
	assert.Equal(t, []string{pod.ID}, observe().Resync.Unreported)

	pod.TaskResultSynced = ptr.To(true)
	wf.Status.Nodes[pod.ID] = pod
	assert.Empty(t, observe().Resync.Unreported)
	for i := range 50 {
		pod.ID, pod.TaskResultSynced = fmt.Sprintf("%s-%d", wf.Name, i), ptr.To(false)
		wf.Status.Nodes[pod.ID] = pod
	}
	assert.Len(t, observe().Resync.Unreported, 10)
}

// Users can write the nodes of a Workflow: their IDs are names of objects that the operator
// changes.
func TestNextStepResyncForgedNodes(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	for name, id := range map[string]string{
		"of another Workflow":              "mv-4-1c072-1-1234567890",
		"of another attempt":               "mv-3-1c072-10-1234567890",
		"of a resubmit":                    "mv-3-1c072-1-x2x1v-1234567890",
		"no name, so that each pass fails": "mv-3-1c072-1-1/../2",
	} {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
			require.Equal(t, "mv-3-1c072-1", wf.Name)
			pod := wf.Status.Nodes[builders.PodNode(wf)]
			pod.ID, pod.Phase, pod.TaskResultSynced = id, wfv1.NodeError, ptr.To(false)
			wf.Status.Nodes[builders.PodNode(wf)] = pod
			got := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, PodMissing: true, TemplateFound: true, Now: builders.Epoch.Add(time.Minute)}, options)
			assert.Equal(t, &lifecycle.Resync{Workflow: wf, Due: "2026-03-01T12:00:10Z"}, got.Resync)
		})
	}
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
