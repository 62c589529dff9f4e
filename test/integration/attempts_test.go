package integration

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
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

// A registry can lose an image. The digest in the status then names nothing.
func TestAttemptAfterImageIsLost(t *testing.T) {
	op := startOperator(t, shared)
	const other = "sha256:0a53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
	pushAgain := func(s sandbox, wf *wfv1.Workflow) {
		r := goodReport(wf)
		r.ImageLost, r.Image.Digest = true, other
		s.argo.finish(wf, wfv1.WorkflowSucceeded, "", r)
	}
	awaitDigest := func(s sandbox) {
		require.EventuallyWithT(s.t, func(c *assert.CollectT) { assert.Equal(c, other, s.version(resnet).Status.Digest) }, deadline, tick)
		latest := s.latestVersion(resnet)
		latest.Digest = other
		s.awaitLatest("resnet", latest)
		assert.Equal(s.t, ready, conditionStatuses(s.version(resnet)))
	}

	t.Run("a rebuild pushes it again", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv := s.createReady()
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")

		second := s.argo.awaitAttempt(mv, 2)
		assert.Equal(t, digest, argument(second, contract.ParamKnownDigest))
		s.awaitMessage("The requested rebuild checks it: Workflow " + second.Name)
		assert.Equal(t, ready, conditionStatuses(s.version(resnet)), "it serves as before")
		pushAgain(s, second)
		awaitDigest(s)
	})

	t.Run("a rebuild finds it", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv := s.createReady()
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		second := s.argo.awaitAttempt(mv, 2)
		s.argo.completeWorkflow(second)

		s.awaitMessage("Workflow " + second.Name + " found it there again")
		s.awaitEvent("ModelVersion", v1alpha1.ReasonSucceeded, "found it there again")
		op.drainQueue(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one request starts one attempt")
	})

	t.Run("a rebuild cannot push it again", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv := s.createReady()
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		second := s.argo.awaitAttempt(mv, 2)
		r := goodReport(second)
		r.ImageLost, r.Build, r.Image = true, nil, nil
		r.Failure = &report.Failure{Step: contract.StepBuild, Reason: v1alpha1.ReasonRegistryUnreachable, Message: "the registry does not respond"}
		s.argo.finish(second, wfv1.WorkflowFailed, "", r)

		mv = s.awaitReason(resnet, v1alpha1.ReasonImageLost)
		assert.Empty(t, mv.Status.Digest)
		s.awaitLatest("resnet", nil)
	})

	t.Run("a resubmit pushes it again", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.createReady()
		first := s.argo.awaitOnlyWorkflow()
		pushAgain(s, s.argo.resubmit(s.client, first))
		awaitDigest(s)
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
