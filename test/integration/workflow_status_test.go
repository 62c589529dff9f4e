package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestWorkflowStatusSucceeded(t *testing.T) {
	startOperator(t, shared)
	s, wf := startBuild(t)
	mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
	assert.Equal(t, inProgress, conditionStatuses(mv))
	assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
	assert.Equal(t, argument(wf, contract.ParamImage), mv.Status.Image)
	assert.Equal(t, "node-1", mv.Status.NodeName)
	assert.Equal(t, int64(1), mv.Status.Attempts)

	s.argo.setPending(wf, "Waiting for default/Mutex/modelhub lock. Lock status: 0/1")
	s.awaitMessage("Waiting for default/Mutex/modelhub lock")

	s.argo.runStep(wf, contract.StepMountCheck)
	mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	assert.Equal(t, inProgress, conditionStatuses(mv))
	assert.Equal(t, fmt.Sprintf("Workflow %s runs step mount-check", wf.Name), mv.Status.Message)

	s.argo.runStep(wf, contract.StepBuild)
	s.awaitMessage("step " + contract.StepBuild)

	wf = s.argo.completeWorkflow(wf)
	mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	assert.Equal(t, ready, conditionStatuses(mv))
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, mv.Status.ImageBuildPhase)
	assert.Equal(t, digest, mv.Status.Digest)
	assert.Equal(t, digest[len("sha256:"):][:12], mv.Status.ShortDigest)
	assert.Equal(t, int64(3), mv.Status.Files)
	assert.Equal(t, int64(50<<20), mv.Status.SizeBytes)
	assert.Equal(t, int64(30<<20), mv.Status.ImageSizeBytes)
	assert.True(t, wf.Status.FinishedAt.Equal(mv.Status.FinishTime), "finished at %v, not %v", wf.Status.FinishedAt, mv.Status.FinishTime)
	assert.Equal(t, mv.Generation, mv.Status.ObservedGeneration)
	assert.Equal(t, v1alpha1.WorkflowStatus{Name: wf.Name, UID: string(wf.UID), Phase: "Succeeded", Generation: 1, BuildHash: workflow.BuildHash(wf)}, *mv.Status.Workflow)
	s.awaitLatest("resnet", s.latestVersion(resnet))
}

func TestWorkflowStatusFailed(t *testing.T) {
	startOperator(t, shared)

	t.Run("a step reports a failure", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)

		s.argo.failWorkflow(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "Directory /models/resnet/1 contains no files.")

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Equal(t, v1alpha1.ImageBuildFailed, mv.Status.ImageBuildPhase)
		assert.NotNil(t, mv.Status.FinishTime)
		assert.Contains(t, mv.Status.Message, "Directory /models/resnet/1 contains no files")
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		assert.Nil(t, s.model("resnet").Status.LatestVersion)
	})

	t.Run("a step reports an unknown reason", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)

		s.argo.failWorkflow(wf, "image scan", "found 3 problems!", "CVE-2026-1, CVE-2026-2 and CVE-2026-3")

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowFailed)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "Step image scan: CVE-2026-1, CVE-2026-2 and CVE-2026-3")
	})

	t.Run("a step reports a long message, which the event truncates", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)

		s.argo.failWorkflow(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, strings.Repeat("モデルがない ", 400))

		mv := s.awaitReason(resnet, v1alpha1.ReasonBuildFailed)
		got := s.awaitEvent("ModelVersion", v1alpha1.ReasonBuildFailed, "")
		assert.Equal(t, mv.UID, got.Regarding.UID)
		assert.Equal(t, corev1.EventTypeWarning, got.Type)
		assert.Equal(t, "Build", got.Action)
		assert.Contains(t, got.Note, "モデルがない")
		assert.True(t, strings.HasPrefix(mv.Status.Message, strings.TrimSuffix(got.Note, "…")), "note %q", got.Note)
	})

	t.Run("a Workflow succeeds without a report", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)

		s.argo.finishWithoutReport(wf, wfv1.WorkflowSucceeded, "")

		mv := s.awaitReason(resnet, v1alpha1.ReasonReportInvalid)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Nil(t, s.model("resnet").Status.LatestVersion)
	})

}

func TestWorkflowStatusRetry(t *testing.T) {
	startOperator(t, shared)

	t.Run("a retried Workflow is followed again", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		s.failBuild(wf, contract.StepStatusReport, v1alpha1.ReasonRegistryUnreachable, "registry.example.com does not respond")

		wf = s.argo.retry(wf)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		assert.Equal(t, inProgress, conditionStatuses(mv))
		assert.Nil(t, mv.Status.FinishTime)
		assert.True(t, wf.Status.StartedAt.Equal(mv.Status.StartTime))

		mv = s.completeBuild(wf)
		assert.Equal(t, wf.Name, mv.Status.Workflow.Name)
		assert.Equal(t, int64(1), mv.Status.Attempts)
		assert.Len(t, s.argo.workflows(), 1)
	})

}

func TestWorkflowStatusResubmit(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("by a user who can only create Workflows", func(t *testing.T) {
		t.Parallel()
		s, first := startBuild(t)
		s.failBuild(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		second := s.argo.resubmit(workflowAuthor(t, s.namespace), first)
		mv := s.awaitWorkflowPhase(resnet, second, "")
		assert.Equal(t, inProgress, conditionStatuses(mv))

		mv = s.completeBuild(second)
		assert.Equal(t, second.Name, mv.Status.Workflow.Name)
		assert.Equal(t, int64(1), mv.Status.Attempts, "a resubmitted Workflow does not count as an attempt of the operator")
		assert.Len(t, s.argo.workflows(), 2)
	})

	t.Run("during a build, the newer Workflow is followed", func(t *testing.T) {
		t.Parallel()
		s, first := startBuild(t)
		s.argo.runStep(first, contract.StepBuild)
		second := s.argo.resubmit(s.client, first)
		s.argo.update(second, func(now *wfv1.Workflow) { now.Status.StartedAt = s.argo.secondAfter(first.CreationTimestamp) })
		s.argo.runStep(second, contract.StepMountCheck)
		s.awaitWorkflowPhase(resnet, second, wfv1.WorkflowRunning)

		s.argo.failWorkflow(first, contract.StepBuild, v1alpha1.ReasonBuildFailed, "killed")
		s.argo.completeWorkflow(second)

		mv := s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, second.Name, mv.Status.Workflow.Name)
	})

	t.Run("after success, nothing is followed or rebuilt", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		want := s.completeBuild(wf).Status

		again := s.argo.resubmit(s.client, wf)
		s.argo.failWorkflow(again, contract.StepMountCheck, v1alpha1.ReasonSourceChanged, "the files have changed")
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
		require.NoError(t, s.client.DeleteAllOf(t.Context(), &wfv1.Workflow{}, client.InNamespace(s.namespace)))
		op.drainQueue(t, shared)

		got := s.version(resnet).Status
		assert.Equal(t, int64(2), got.ObservedGeneration)
		assert.Equal(t, digest, got.Digest)
		assert.Equal(t, want.Workflow, got.Workflow)
		assert.Equal(t, v1alpha1.ImageBuildSucceeded, got.ImageBuildPhase)
		assert.Empty(t, s.argo.workflows())
	})
}

// workflowAuthor returns the client of a user who can create Workflows and do
// nothing else, such as update the finalizers of their owners.
func workflowAuthor(t *testing.T, namespace string) client.Client {
	t.Helper()
	return shared.clientWithRules(t, namespace, "author", []rule{{groups: "argoproj.io", resources: "workflows", verbs: "create"}})
}

// Argo keeps the nodes in its database: only the phase and the outputs show what
// became of the build.
func TestWorkflowNodesOffloaded(t *testing.T) {
	startOperator(t, shared)
	s, wf := startBuild(t)
	s.argo.createPod(wf)
	s.argo.update(wf, func(now *wfv1.Workflow) {
		s.argo.setPhase(now, wfv1.WorkflowRunning, "")
		now.Status.StartedAt, now.Status.OffloadNodeStatusVersion = metav1.Now(), "fnv:0"
	})
	mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	assert.Contains(t, mv.Status.Message, "Argo keeps its steps in a database")

	raw, err := json.Marshal(goodReport(wf))
	require.NoError(t, err)
	s.argo.update(wf, func(now *wfv1.Workflow) {
		s.argo.setPhase(now, wfv1.WorkflowSucceeded, "")
		now.Status.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: contract.OutputReport, Value: wfv1.AnyStringPtr(string(raw))}}}
		now.Status.OffloadNodeStatusVersion = "fnv:1"
	})
	mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	assert.Equal(t, digest, mv.Status.Digest)
}

// A controller of Argo that watches another namespace notices nothing.
func TestWorkflowNotNoticed(t *testing.T) {
	startOperator(t, shared, withConfig(func(c *config.Config) { c.PendingSeconds = 2 }))
	s, wf := startBuild(t)
	mv := s.awaitReason(resnet, v1alpha1.ReasonArgoUnavailable)
	assert.Equal(t, inProgress, conditionStatuses(mv))
	assert.Contains(t, mv.Status.Message, "it watches namespace "+s.namespace)
	s.completeBuild(wf)
}
