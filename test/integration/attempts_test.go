package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAttemptAfterDeletedWorkflow(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("an unfinished Workflow is replaced three times in a row", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv := s.create(localVersion)
		for attempt := int64(1); attempt <= 4; attempt++ {
			wf := s.argo.awaitAttempt(mv, attempt)
			s.awaitWorkflowPhase(resnet, wf, "")
			if attempt%2 == 0 {
				s.argo.runStep(wf, contract.StepBuild)
			}
			require.NoError(t, s.client.Delete(t.Context(), wf))
		}

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowDeleted)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Equal(t, int64(4), mv.Status.Attempts)
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		assert.Empty(t, s.argo.workflows())

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "again")
		wf := s.argo.awaitAttempt(mv, 5)
		mv = s.awaitWorkflowPhase(resnet, wf, "")
		assert.Equal(t, int64(0), mv.Status.Workflow.Restarts, "a requested rebuild resets the count")
	})

	t.Run("a failed Workflow is not replaced", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		want := s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files").Status

		require.NoError(t, s.client.Delete(t.Context(), wf))
		op.awaitLookup(t, s.namespace, wf.Name)
		op.drainQueue(t, shared)

		assert.Empty(t, s.argo.workflows())
		assert.Equal(t, want, s.version(resnet).Status)
	})
}

func TestAttemptAfterEdit(t *testing.T) {
	startOperator(t, shared)

	t.Run("spec.build is edited after a failure: the new settings are used", func(t *testing.T) {
		t.Parallel()
		s, first := startBuild(t)
		mv := s.failBuild(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })

		second := s.argo.awaitAttempt(mv, 2)
		assert.Equal(t, "scratch", argument(second, contract.ParamBaseImage))
		mv = s.awaitWorkflowPhase(resnet, second, "")
		assert.Equal(t, int64(2), mv.Status.Attempts)
		assert.Equal(t, mv.Generation, mv.Status.Workflow.Generation)
		s.completeBuild(second)
	})

	t.Run("spec.build is edited during an attempt: the next one starts when that fails", func(t *testing.T) {
		t.Parallel()
		s, first := startBuild(t)
		s.argo.runStep(first, contract.StepBuild)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, mv.Generation, mv.Status.ObservedGeneration)
		}, deadline, tick)
		require.Len(t, s.argo.workflows(), 1)

		s.argo.failWorkflow(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		second := s.argo.awaitAttempt(mv, 2)
		assert.Equal(t, "scratch", argument(second, contract.ParamBaseImage))
	})

}

func TestAttemptAfterRebuildAnnotation(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("a new value starts one attempt, other annotations none", func(t *testing.T) {
		t.Parallel()
		s, first := startBuild(t)
		mv := s.failBuild(first, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		s.annotate(resnet, "example.com/note", "seen")
		op.drainQueue(t, shared)
		require.Len(t, s.argo.workflows(), 1)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1763800000")

		second := s.argo.awaitAttempt(mv, 2)
		mv = s.awaitWorkflowPhase(resnet, second, "")
		assert.Equal(t, "1763800000", mv.Status.Workflow.Rebuild)
		s.failBuild(second, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		op.drainQueue(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one request starts one attempt")
	})

	t.Run("a value longer than the status field starts one attempt", func(t *testing.T) {
		t.Parallel()
		s, first := startBuild(t)
		mv := s.failBuild(first, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")

		s.annotate(resnet, v1alpha1.AnnotationRebuild, letters(4000))

		second := s.argo.awaitAttempt(mv, 2)
		s.awaitWorkflowPhase(resnet, second, "")
		s.failBuild(second, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		op.drainQueue(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one request starts one attempt")
	})

}

func TestAttemptAfterTagTaken(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("an automatic tag gets longer", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv := s.create(localVersion)
		digits := uidDigits(mv)
		for i, length := range []int{5, 8, 16, 32} {
			wf := s.argo.awaitAttempt(mv, int64(i+1))
			want := "modelhub/resnet:v" + digits[:length]
			assert.Equal(t, want, argument(wf, contract.ParamImage))
			mv = s.awaitWorkflowPhase(resnet, wf, "")
			assert.Equal(t, want, mv.Status.Image)
			s.argo.failWorkflow(wf, contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag refers to another image")
		}
		mv = s.awaitReason(resnet, v1alpha1.ReasonTagTaken)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "imageTag")
		op.drainQueue(t, shared)
		assert.Len(t, s.argo.workflows(), 4)
	})

	t.Run("spec.imageTag is not replaced", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t, set("spec.imageTag", "v1.0"))
		s.argo.failWorkflow(wf, contract.StepMountCheck, v1alpha1.ReasonTagTaken, "modelhub/resnet:v1.0 refers to another image")

		mv := s.awaitReason(resnet, v1alpha1.ReasonTagTaken)
		op.drainQueue(t, shared)
		assert.Contains(t, mv.Status.Message, "modelhub/resnet:v1.0 refers to another image")
		assert.Len(t, s.argo.workflows(), 1)
	})
}
