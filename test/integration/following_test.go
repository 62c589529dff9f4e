package integration

import (
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAVersionFollowsItsWorkflow(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("through a build that succeeds", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, inProgress, states(mv))
		assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
		assert.Equal(t, argument(wf, contract.ParamImage), mv.Status.Image)
		assert.Equal(t, "node-1", mv.Status.NodeName)
		assert.Equal(t, int64(1), mv.Status.Attempts)

		s.argo.postpones(wf, "Waiting for default/Mutex/modelhub lock. Lock status: 0/1")
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Contains(c, mv.Status.Message, "Waiting for default/Mutex/modelhub lock")
		}, deadline, tick)

		s.argo.runs(wf, contract.StepMountCheck)
		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		assert.Equal(t, inProgress, states(mv))
		assert.Equal(t, fmt.Sprintf("Workflow %s runs step mount-check", wf.Name), mv.Status.Message)

		s.argo.runs(wf, contract.StepBuild)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, fmt.Sprintf("Workflow %s runs step build", wf.Name), mv.Status.Message)
		}, deadline, tick)

		wf = s.argo.succeeds(wf)
		mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, ready, states(mv))
		assert.Equal(t, v1alpha1.ImageBuildSucceeded, mv.Status.ImageBuildPhase)
		assert.Equal(t, digest, mv.Status.Digest)
		assert.Equal(t, digest[len("sha256:"):][:12], mv.Status.ShortDigest)
		assert.Equal(t, int64(3), mv.Status.Files)
		assert.Equal(t, int64(50<<20), mv.Status.SizeBytes)
		assert.Equal(t, int64(30<<20), mv.Status.ImageSizeBytes)
		assert.True(t, wf.Status.FinishedAt.Equal(mv.Status.FinishTime), "finished at %v, not %v", wf.Status.FinishedAt, mv.Status.FinishTime)
		assert.Equal(t, mv.Generation, mv.Status.ObservedGeneration)
		assert.Equal(t, v1alpha1.WorkflowStatus{Name: wf.Name, UID: string(wf.UID), Phase: "Succeeded", Generation: 1}, *mv.Status.Workflow)
		s.awaitLatest("resnet", s.latest(resnet))
	})

	t.Run("to a step's failure, and says what to do", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)

		s.argo.fails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "The folder /models/resnet/1 holds no file.")

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)
		assert.Equal(t, stalled, states(mv))
		assert.Equal(t, v1alpha1.ImageBuildFailed, mv.Status.ImageBuildPhase)
		assert.NotNil(t, mv.Status.FinishTime)
		assert.Contains(t, mv.Status.Message, "The folder /models/resnet/1 holds no file")
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		assert.Nil(t, s.model("resnet").Status.LatestVersion)
	})

	t.Run("to a failure whose reason is no word of the API", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)

		s.argo.fails(wf, "image scan", "found 3 problems!", "CVE-2026-1, CVE-2026-2 and CVE-2026-3")

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowFailed)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "Step image scan: CVE-2026-1, CVE-2026-2 and CVE-2026-3")
	})

	t.Run("to a failure in many words of another script, and an event says as much as it may", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)

		s.argo.fails(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, strings.Repeat("モデルがない ", 400))

		mv := s.awaitReason(resnet, v1alpha1.ReasonBuildFailed)
		got := s.awaitEvent(v1alpha1.ReasonBuildFailed)
		assert.Equal(t, mv.UID, got.Regarding.UID)
		assert.Equal(t, corev1.EventTypeWarning, got.Type)
		assert.Equal(t, "Build", got.Action)
		assert.Contains(t, got.Note, "モデルがない")
		assert.True(t, strings.HasPrefix(mv.Status.Message, strings.TrimSuffix(got.Note, "…")), "the event says %q", got.Note)
	})

	t.Run("to a success that nothing proves", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)

		s.argo.endsWithoutReport(wf, wfv1.WorkflowSucceeded, "")

		mv := s.awaitReason(resnet, v1alpha1.ReasonReportInvalid)
		assert.Equal(t, stalled, states(mv))
		assert.Nil(t, s.model("resnet").Status.LatestVersion)
	})

	t.Run("that is retried", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		s.buildFails(wf, contract.StepStatusReport, v1alpha1.ReasonRegistryUnreachable, "registry.example.com does not answer")

		wf = s.argo.retry(wf)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		assert.Equal(t, inProgress, states(mv))
		assert.Nil(t, mv.Status.FinishTime)
		assert.True(t, wf.Status.StartedAt.Equal(mv.Status.StartTime))

		mv = s.buildSucceeds(wf)
		assert.Equal(t, wf.Name, mv.Status.Workflow.Name)
		assert.Equal(t, int64(1), mv.Status.Attempts)
		assert.Len(t, s.argo.workflows(), 1)
	})

	t.Run("that is resubmitted, by a person who may only make Workflows", func(t *testing.T) {
		t.Parallel()
		s, first := newBuild(t)
		s.buildFails(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		second := s.argo.resubmit(workflowAuthor(t, s.namespace), first)
		mv := s.awaitFollows(resnet, second, "")
		assert.Equal(t, inProgress, states(mv))

		mv = s.buildSucceeds(second)
		assert.Equal(t, second.Name, mv.Status.Workflow.Name)
		assert.Equal(t, int64(1), mv.Status.Attempts, "a resubmit is no attempt of the operator's")
		assert.Len(t, s.argo.workflows(), 2)
	})

	t.Run("that is resubmitted while it runs, to the newer one", func(t *testing.T) {
		t.Parallel()
		s, first := newBuild(t)
		s.argo.runs(first, contract.StepBuild)
		second := s.argo.resubmit(s.client, first)
		s.argo.write(second, func(now *wfv1.Workflow) { now.Status.StartedAt = secondAfter(first.CreationTimestamp) })
		s.argo.runs(second, contract.StepMountCheck)
		s.awaitFollows(resnet, second, wfv1.WorkflowRunning)

		s.argo.fails(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "killed")
		s.argo.succeeds(second)

		mv := s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, second.Name, mv.Status.Workflow.Name)
	})

	t.Run("to nowhere once it has succeeded", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		want := s.buildSucceeds(wf).Status

		again := s.argo.resubmit(s.client, wf)
		s.argo.fails(again, contract.StepMountCheck, v1alpha1.ReasonSourceChanged, "the files have changed")
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		require.NoError(t, s.client.DeleteAllOf(t.Context(), &wfv1.Workflow{}, client.InNamespace(s.namespace)))
		op.settles(t, shared)

		got := s.version(resnet).Status
		assert.Equal(t, int64(2), got.ObservedGeneration)
		assert.Equal(t, digest, got.Digest)
		assert.Equal(t, want.Workflow, got.Workflow)
		assert.Equal(t, v1alpha1.ImageBuildSucceeded, got.ImageBuildPhase)
		assert.Empty(t, s.argo.workflows())
	})
}

// workflowAuthor is a client of a person who may make Workflows and nothing
// else: not touch the finalizers of what owns them.
func workflowAuthor(t *testing.T, namespace string) client.Client {
	t.Helper()
	return shared.clientWith(t, namespace, "author", []rule{{groups: "argoproj.io", resources: "workflows", verbs: "create"}})
}
