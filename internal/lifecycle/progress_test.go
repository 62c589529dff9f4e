package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestNextStepProgress(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	pass := func(seconds int, value string) lifecycle.Step {
		wf := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Progress(value).Obj()
		now := builders.Epoch.Add(time.Duration(seconds) * time.Second)
		step := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: now}, options)
		mv = after(mv, step)
		return step
	}
	for _, tc := range []struct {
		name    string
		seconds int
		value   string
		want    string
		requeue time.Duration
	}{
		{"no progress", 1, "0/1", "runs step build", 0},
		{"invalid progress", 2, "half", "runs step build", 0},
		{"first value is written at once", 3, "1000/4000", "runs step build. 25% of the model copied", 0},
		{"next value waits", 5, "2000/4000", "runs step build. 25% of the model copied", 8 * time.Second},
		{"waiting value is written", 13, "2400/4000", "runs step build. 60% of the model copied", 0},
		{"same percentage writes nothing", 14, "2401/4000", "runs step build. 60% of the model copied", 0},
		{"complete", 30, "4000/4000", "runs step build. 100% of the model copied", 0},
	} {
		got := pass(tc.seconds, tc.value)
		assert.Equal(t, "Workflow mv-3-1c072-1 "+tc.want, got.Status.Message, tc.name)
		assert.Equal(t, tc.requeue, got.RequeueAfter, tc.name)
		assert.Equal(t, v1alpha1.ReasonWorkflowRunning, got.Status.Conditions[0].Reason, tc.name)
	}
	require.NotNil(t, mv.Status.Workflow.ProgressPercent)

	w := builders.MakeWorkflow(mv, 1)
	wf := w.Running(contract.StepBuild).Succeeded(w.Report()).Progress("4000/4000").Obj()
	got := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true}, options)
	assert.Equal(t, v1alpha1.ReasonSucceeded, got.Status.Conditions[0].Reason)
	assert.Nil(t, got.Status.Workflow.ProgressPercent)
	assert.Nil(t, got.Status.Workflow.ProgressTime)
}

// The replica that wrote the progress had a clock that was ten minutes ahead.
func TestNextStepProgressOfOtherClock(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	pass := func(now time.Time, value string) lifecycle.Step {
		wf := builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Progress(value).Obj()
		return nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: now}, options)
	}
	mv = after(mv, pass(builders.Epoch.Add(10*time.Minute), "1000/4000"))

	got := pass(builders.Epoch, "2000/4000")
	assert.Contains(t, got.Status.Message, "50% of the model copied")
	assert.Equal(t, builders.Epoch, got.Status.Workflow.ProgressTime.Time)
}

// Progress is that of the latest try, even if an earlier one copied more.
func TestNextStepProgressOfLatestTry(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	w := builders.MakeWorkflow(mv, 1)
	unreachable := w.FailureReport(contract.StepBuild, v1alpha1.ReasonRegistryUnreachable, "the registry does not respond")
	wf := w.Running(contract.StepBuild).Progress("4000/4000").FailedTry(unreachable).Running(contract.StepBuild).Progress("400/4000").Obj()

	got := nextStep(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, TemplateFound: true, Now: builders.Epoch}, options)
	assert.Contains(t, got.Status.Message, "the registry does not respond. 10% of the model copied")
	assert.Equal(t, v1alpha1.ReasonRetrying, got.Status.Conditions[0].Reason)
}
