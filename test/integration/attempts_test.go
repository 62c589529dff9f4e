package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAnAttemptIsMadeAnew(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("when an unfinished Workflow is deleted, three times in a row", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		for attempt := int64(1); attempt <= 4; attempt++ {
			wf := s.argo.awaitAttempt(mv, attempt)
			s.awaitFollows(resnet, wf, "")
			if attempt%2 == 0 {
				s.argo.runs(wf, contract.StepBuild)
			}
			require.NoError(t, s.client.Delete(t.Context(), wf))
		}

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowDeleted)
		assert.Equal(t, stalled, states(mv))
		assert.Equal(t, int64(4), mv.Status.Attempts)
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		assert.Empty(t, s.argo.workflows())

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "again")
		wf := s.argo.awaitAttempt(mv, 5)
		mv = s.awaitFollows(resnet, wf, "")
		assert.Equal(t, int64(0), mv.Status.Workflow.Restarts, "a person's wish begins a new count")
	})

	t.Run("not when a Workflow that failed is deleted", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		want := s.buildFails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there").Status

		require.NoError(t, s.client.Delete(t.Context(), wf))
		op.awaitLookup(t, s.namespace, wf.Name)
		op.settles(t, shared)

		assert.Empty(t, s.argo.workflows())
		assert.Equal(t, want, s.version(resnet).Status)
	})

	t.Run("when build is edited on a version that failed, with the new settings", func(t *testing.T) {
		t.Parallel()
		s, first := newBuild(t)
		mv := s.buildFails(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })

		second := s.argo.awaitAttempt(mv, 2)
		assert.Equal(t, "scratch", argument(second, contract.ParamBaseImage))
		mv = s.awaitFollows(resnet, second, "")
		assert.Equal(t, int64(2), mv.Status.Attempts)
		assert.Equal(t, mv.Generation, mv.Status.Workflow.Generation)
		s.buildSucceeds(second)
	})

	t.Run("when build is edited while it runs, once that has failed", func(t *testing.T) {
		t.Parallel()
		s, first := newBuild(t)
		s.argo.runs(first, contract.StepBuild)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, mv.Generation, mv.Status.ObservedGeneration)
		}, deadline, tick)
		require.Len(t, s.argo.workflows(), 1)

		s.argo.fails(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		second := s.argo.awaitAttempt(mv, 2)
		assert.Equal(t, "scratch", argument(second, contract.ParamBaseImage))
	})

	t.Run("when the rebuild annotation changes, and not when others do", func(t *testing.T) {
		t.Parallel()
		s, first := newBuild(t)
		mv := s.buildFails(first, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		s.annotate(resnet, "example.com/note", "seen")
		op.settles(t, shared)
		require.Len(t, s.argo.workflows(), 1)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1763800000")

		second := s.argo.awaitAttempt(mv, 2)
		mv = s.awaitFollows(resnet, second, "")
		assert.Equal(t, "1763800000", mv.Status.Workflow.Rebuild)
		s.buildFails(second, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		op.settles(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one wish, one attempt")
	})

	t.Run("when the rebuild annotation is longer than a status takes", func(t *testing.T) {
		t.Parallel()
		s, first := newBuild(t)
		mv := s.buildFails(first, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")

		s.annotate(resnet, v1alpha1.AnnotationRebuild, letters(4000))

		second := s.argo.awaitAttempt(mv, 2)
		s.awaitFollows(resnet, second, "")
		s.buildFails(second, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		op.settles(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one wish, one attempt")
	})

	t.Run("with a longer tag when the automatic one is taken", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		digits := hexDigits(mv)
		for i, length := range []int{5, 8, 16, 32} {
			wf := s.argo.awaitAttempt(mv, int64(i+1))
			want := "modelhub/resnet:v" + digits[:length]
			assert.Equal(t, want, argument(wf, contract.ParamImage))
			mv = s.awaitFollows(resnet, wf, "")
			assert.Equal(t, want, mv.Status.Image)
			s.argo.fails(wf, contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag holds another image")
		}
		mv = s.awaitReason(resnet, v1alpha1.ReasonTagTaken)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "create a new ModelVersion with an imageTag")
		op.settles(t, shared)
		assert.Len(t, s.argo.workflows(), 4)
	})

	t.Run("not when a tag that a person chose is taken", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t, set("spec.imageTag", "v1.0"))
		s.argo.fails(wf, contract.StepMountCheck, v1alpha1.ReasonTagTaken, "modelhub/resnet:v1.0 holds another image")

		mv := s.awaitReason(resnet, v1alpha1.ReasonTagTaken)
		op.settles(t, shared)
		assert.Contains(t, mv.Status.Message, "modelhub/resnet:v1.0 holds another image")
		assert.Len(t, s.argo.workflows(), 1)
	})
}
