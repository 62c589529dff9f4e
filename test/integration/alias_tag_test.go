package integration

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// promoteTag points the alias production, with its tag, to a ModelVersion.
func (s sandbox) promoteTag(version string) {
	s.t.Helper()
	require.NoError(s.t, s.setAliases(s.client, v1alpha1.Alias{Name: "production", Version: version, Tag: true}))
}

// awaitTagWorkflow returns the Workflow that moves the tag to a ModelVersion.
func (s sandbox) awaitTagWorkflow(version string) *wfv1.Workflow {
	s.t.Helper()
	got := s.awaitAlias(func(t assert.TestingT, got v1alpha1.AliasStatus) {
		assert.Equal(t, [2]string{version, v1alpha1.ReasonTagMoving}, [2]string{got.Version, got.Reason})
	})
	return s.argo.awaitWorkflow(got.Tag.Workflow)
}

// tagReport is the report of a step that has moved a tag.
func tagReport(wf *wfv1.Workflow) report.Report {
	image := argument(wf, contract.ParamImage)
	return report.Report{
		Run:   report.Run{WorkflowUID: string(wf.UID), Image: image},
		Image: &report.Image{Reference: image, Digest: argument(wf, contract.ParamDigest)},
	}
}

func (s sandbox) awaitAliasReason(reason, message string) v1alpha1.AliasStatus {
	s.t.Helper()
	return s.awaitAlias(func(t assert.TestingT, got v1alpha1.AliasStatus) {
		assert.Equal(t, reason, got.Reason)
		assert.Contains(t, got.Message, message)
	})
}

func TestAliasTag(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	for _, name := range []string{"v1", "v2"} {
		s.newVersion(name)
	}
	s.promoteTag("v1")
	s.awaitAliasReason(v1alpha1.ReasonTemplateMissing, "ClusterWorkflowTemplate modelkiln-promote does not exist")
	quota := s.forbidWorkflows()
	s.createTemplate(contract.PromoteTemplate)
	s.awaitAliasReason(v1alpha1.ReasonRefused, "The API server rejected the Workflow that moves the tag; retrying: ")
	require.NoError(t, s.client.Delete(t.Context(), quota))
	first := s.awaitTagWorkflow("v1")
	assert.True(t, metav1.IsControlledBy(first, s.model("resnet")))
	assert.Equal(t, digestOf("v1"), argument(first, contract.ParamDigest))

	t.Run("is moved", func(t *testing.T) {
		s := s.withT(t)
		s.argo.finish(first, wfv1.WorkflowSucceeded, "", tagReport(first))
		got := s.awaitAliasVersion("v1")
		assert.Equal(t, &v1alpha1.AliasTag{Workflow: first.Name, Digest: digestOf("v1")}, got.Tag)
		assert.Equal(t, argument(first, contract.ParamImage), got.Image)
		assert.Contains(t, got.Image, ":production")
	})
	var second *wfv1.Workflow
	t.Run("fails, and the Workflow before is deleted", func(t *testing.T) {
		s := s.withT(t)
		s.promoteTag("v2")
		second = s.awaitTagWorkflow("v2")
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Len(c, s.tagWorkflows(), 1)
		}, deadline, tick)
		failed := tagReport(second)
		failed.Image, failed.Failure = nil, &report.Failure{Step: contract.StepPromote, Reason: v1alpha1.ReasonRegistryUnauthorized, Message: "the registry denied access"}
		s.argo.finish(second, wfv1.WorkflowFailed, "", failed)
		got := s.awaitAliasReason(v1alpha1.ReasonRegistryUnauthorized, "Step promote: the registry denied access. To try again: argo retry -n "+s.namespace+" "+second.Name)
		assert.Equal(t, s.version("v2").Status.Image, got.Image, "the tag may still refer to v1")
	})
	t.Run("succeeds after argo retry", func(t *testing.T) {
		s := s.withT(t)
		s.argo.retry(second)
		s.awaitAliasReason(v1alpha1.ReasonTagMoving, second.Name)
		s.argo.finish(second, wfv1.WorkflowSucceeded, "", tagReport(second))
		assert.Equal(t, digestOf("v2"), s.awaitAliasVersion("v2").Tag.Digest)
	})
	t.Run("stays when the Workflow is deleted", func(t *testing.T) {
		s := s.withT(t)
		require.NoError(t, s.client.Delete(t.Context(), second))
		op.drainQueue(t, shared)
		assert.Equal(t, digestOf("v2"), s.awaitAliasVersion("v2").Tag.Digest)
		assert.Empty(t, s.tagWorkflows())
	})
	t.Run("is moved by a resubmit", func(t *testing.T) {
		s := s.withT(t)
		s.promoteTag("v1")
		third := s.awaitTagWorkflow("v1")
		s.argo.finish(third, wfv1.WorkflowFailed, "Error", report.Report{})
		s.awaitAliasReason(v1alpha1.ReasonWorkflowFailed, "argo retry")
		again := s.argo.resubmit(s.client, third)
		s.argo.finish(again, wfv1.WorkflowSucceeded, "", tagReport(again))
		assert.Equal(t, digestOf("v1"), s.awaitAliasVersion("v1").Tag.Digest)
	})
	t.Run("is left alone without an alias", func(t *testing.T) {
		s := s.withT(t)
		require.NoError(t, s.setAliases(s.client))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Empty(c, s.tagWorkflows())
			m := &v1alpha1.Model{}
			s.get(c, "resnet", m)
			assert.Empty(c, m.Status.Aliases)
		}, deadline, tick)
	})
	t.Run("is not that of a ModelVersion", func(t *testing.T) {
		s := s.withT(t)
		s.create(localVersion, set("metadata.name", "tagged"), set("spec.imageTag", "production"))
		s.promoteTag("v1")
		s.awaitAliasReason(v1alpha1.ReasonInvalidSpec, "The tag production is the imageTag of ModelVersion tagged")
		assert.Empty(t, s.tagWorkflows())
	})
}

// tagWorkflows returns the Workflows that move tags.
func (s sandbox) tagWorkflows() []wfv1.Workflow {
	s.t.Helper()
	var list wfv1.WorkflowList
	require.NoError(s.t, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace), client.HasLabels{v1alpha1.LabelAlias}))
	return list.Items
}

// The status names the Workflow before it is created: a crash in between does not end in
// a second one.
func TestAliasTagAfterRestart(t *testing.T) {
	s := newSandbox(t, shared)
	op := startOperator(t, shared)
	s.newVersion("v1")
	s.createTemplate(contract.PromoteTemplate)
	op.stop()
	s.promoteTag("v1")
	op = startOperator(t, shared)
	wf := s.awaitTagWorkflow("v1")
	op.stop()
	startOperator(t, shared)
	s.argo.finish(wf, wfv1.WorkflowSucceeded, "", tagReport(wf))
	assert.Equal(t, &v1alpha1.AliasTag{Workflow: wf.Name, Digest: digestOf("v1")}, s.awaitAliasVersion("v1").Tag)
	assert.Len(t, s.tagWorkflows(), 1)
}
