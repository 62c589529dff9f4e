package lifecycle_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

const descriptionKey = "workflows.argoproj.io/description"

// describes applies what the pass says about the last Workflow.
func (s *scenario) describes() {
	s.t.Helper()
	step := s.next()
	require.NotNil(s.t, step.Describe)
	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		obj := w.Obj()
		for name, value := range step.Describe.Labels {
			obj.Labels[name] = value
		}
		for name, value := range step.Describe.Annotations {
			obj.Annotations[name] = value
		}
		return builders.FromWorkflow(obj)
	})
	assert.Nil(s.t, s.next().Describe, "it is written once")
}

// A Workflow says why it has failed, until it runs again.
func TestNextStepDescribe(t *testing.T) {
	s := newScenario(t)
	s.pass()
	assert.Nil(t, s.next().Describe, "one that is pending has nothing to say")
	s.updatePass(runningStep(contract.StepBuild))
	assert.Nil(t, s.next().Describe, "one that runs has nothing to say")
	before := s.observed.Workflows[0].Annotations[descriptionKey]

	s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "/foo holds no file"))
	got := s.next().Describe
	require.NotNil(t, got)
	assert.Equal(t, map[string]string{v1alpha1.LabelReason: v1alpha1.ReasonSourceEmpty}, got.Labels)
	assert.Contains(t, got.Annotations[descriptionKey], "Failed with `SourceEmpty`: `"+s.mv().Status.Message+"`")
	s.describes()

	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Retried(builders.Epoch.Add(time.Hour))
	})
	assert.Empty(t, s.next().Describe.Labels[v1alpha1.LabelReason])
	s.describes()
	assert.Equal(t, before, s.observed.Workflows[0].Annotations[descriptionKey])
	s.updatePass(succeeding)
	assert.Nil(t, s.next().Describe)
}

// A success needs no write.
func TestNextStepDescribeSuccess(t *testing.T) {
	s := newScenario(t)
	s.started()
	s.update(succeeding)
	assert.Nil(t, s.next().Describe)
	s.pass()
	assert.Nil(t, s.next().Describe)
}

// An attempt that a user has requested of a Ready ModelVersion says so, too, and so does
// one that another attempt follows.
func TestNextStepDescribeOtherAttempts(t *testing.T) {
	t.Run("of a ModelVersion that stays Ready", func(t *testing.T) {
		s := newScenario(t)
		s.succeeded()
		s.requestRebuild()
		s.pass()
		s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonSourceChanged, "its files have changed since"))
		require.Equal(t, v1alpha1.ReasonSucceeded, lifecycle.ReadyReason(s.mv()))
		got := s.next().Describe
		require.NotNil(t, got)
		assert.Equal(t, "mv-3-1c072-2", got.Name)
		assert.Equal(t, v1alpha1.ReasonSourceChanged, got.Labels[v1alpha1.LabelReason])
	})
	t.Run("whose tag was taken", func(t *testing.T) {
		s := newScenario(t)
		s.pass()
		s.update(failing(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag is taken"))
		step := s.next()
		require.NotNil(t, step.Create)
		require.NotNil(t, step.Describe)
		assert.Equal(t, v1alpha1.ReasonTagTaken, step.Describe.Labels[v1alpha1.LabelReason])
	})
}
