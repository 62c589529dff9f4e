package integration

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestBuildNotStartedSourceForbidden(t *testing.T) {
	startOperator(t, shared)

	t.Run("the host path is denied", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion, set(localPath, "/etc/kubernetes"))

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceForbidden)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "/etc/kubernetes")
		assert.WithinDuration(t, time.Now(), mv.Status.FinishTime.Time, deadline, "kubectl wait --for=jsonpath='{.status.finishTime}' ends")
		assert.Empty(t, s.argo.workflows())
	})

	t.Run("the file system is not in the allow-list", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(efsVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceForbidden)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "fs-12345678")
		assert.Contains(t, mv.Status.Message, "allowedEFS")
		assert.Empty(t, s.argo.workflows())
		assert.Empty(t, mv.Finalizers)
	})
}

func TestBuildNotStartedImageForbidden(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) {
		c.AllowedImageRepos = []string{"registry.example.com/models"}
		c.AllowedBaseImages = []string{"registry.example.com/base"}
	}))
	s := newSandbox(t, shared)
	s.create(localVersion, set("spec.imageRepo", "registry.example.com/other/resnet"))
	s.create(localVersion, set("metadata.name", "resnet-2"), set("spec.imageRepo", "registry.example.com/models/resnet"), build("baseImage", "docker.io/library/python:3"))

	mv := s.awaitReason(resnet, v1alpha1.ReasonImageForbidden)
	assert.Equal(t, stalled, conditionStatuses(mv))
	assert.Contains(t, mv.Status.Message, "Models may not be pushed to registry.example.com/other/resnet (allowedImageRepos)")
	mv = s.awaitReason("resnet-2", v1alpha1.ReasonImageForbidden)
	assert.Contains(t, mv.Status.Message, "Models may not be added to the base image docker.io/library/python:3 (allowedBaseImages)")
	assert.Empty(t, s.argo.workflows())

	s.edit("resnet-2", func(mv *v1alpha1.ModelVersion) { mv.Spec.Build.BaseImage = "registry.example.com/base/python:3" })
	wf := s.argo.awaitOnlyWorkflow()
	assert.Equal(t, "resnet-2", wf.Labels[v1alpha1.LabelModelVersion])

	op.stop()
	startOperator(t, shared)
	mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
	assert.Nil(t, mv.Status.FinishTime)
}

func TestBuildNotStartedTemplate(t *testing.T) {
	startOperator(t, shared)

	t.Run("the build starts when a missing template is created", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		name := s.namespace // A unique name, since templates are cluster-scoped.
		s.create(localVersion, build("workflowTemplate", name))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		assert.Equal(t, waiting, conditionStatuses(mv))
		assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
		assert.Empty(t, s.argo.workflows())

		s.createTemplate(name)

		wf := s.argo.awaitOnlyWorkflow()
		assert.Equal(t, name, wf.Spec.WorkflowTemplateRef.Name)
		s.completeBuild(wf)
	})

	t.Run("the build starts when a template gets the label for builds", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.createTemplate(s.namespace)
		template := &wfv1.ClusterWorkflowTemplate{}
		setLabel := func(value string) {
			require.NoError(t, s.client.Get(t.Context(), client.ObjectKey{Name: s.namespace}, template))
			before := template.DeepCopy()
			template.Labels[v1alpha1.LabelBuildTemplate] = value
			require.NoError(t, s.client.Patch(t.Context(), template, client.MergeFrom(before)))
		}
		setLabel("false")
		s.create(localVersion, build("workflowTemplate", s.namespace))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateNotAllowed)
		assert.Equal(t, waiting, conditionStatuses(mv))
		assert.Empty(t, s.argo.workflows())

		setLabel("true")

		assert.Equal(t, s.namespace, s.argo.awaitOnlyWorkflow().Spec.WorkflowTemplateRef.Name)
	})

}

// forbidWorkflows creates a quota that allows no further Workflow.
func (s sandbox) forbidWorkflows() *corev1.ResourceQuota {
	s.t.Helper()
	used, err := resource.ParseQuantity(strconv.Itoa(len(s.argo.workflows())))
	require.NoError(s.t, err)
	hard := corev1.ResourceList{"count/workflows.argoproj.io": used}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	require.NoError(s.t, s.client.Create(s.t.Context(), quota))
	// The quota controller, which does not run here, would write this.
	quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: hard}
	require.NoError(s.t, s.client.Status().Update(s.t.Context(), quota))
	return quota
}

func TestBuildNotStartedRejectedByAPIServer(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("the build starts when an exhausted quota is removed", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		quota := s.forbidWorkflows()
		s.create(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Equal(t, waiting, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "exceeded quota: few, requested: count/workflows.argoproj.io=1, used: count/workflows.argoproj.io=0, limited: count/workflows.argoproj.io=0")
		assert.Empty(t, s.argo.workflows())

		require.NoError(t, s.client.Delete(t.Context(), quota))
		mv = s.completeBuild(s.argo.awaitOnlyWorkflow())
		assert.Equal(t, int64(1), mv.Status.Attempts)
	})

	t.Run("the build's RoleBinding exists with another role", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		require.NoError(t, s.client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: contract.BuildServiceAccount},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		}))
		s.create(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Equal(t, waiting, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "cannot change roleRef")
	})

	t.Run("the Workflow's name is taken", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		// The missing template gives the test time to create the conflicting
		// Workflow, whose name contains the ModelVersion's UID.
		s.create(localVersion, build("workflowTemplate", s.namespace))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		conflicting := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: workflow.Name(mv.Name, mv.UID, 1)}}
		require.NoError(t, s.client.Create(t.Context(), conflicting))
		s.createTemplate(s.namespace)

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowNameConflict)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, fmt.Sprintf("kubectl delete wf -n %s %s", s.namespace, conflicting.Name))
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		op.drainQueue(t, shared)
		assert.Nil(t, s.version(resnet).Status.Workflow)

		require.NoError(t, s.client.Delete(t.Context(), conflicting))
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.True(t, metav1.IsControlledBy(s.argo.awaitOnlyWorkflow(), mv))
	})

	t.Run("a user takes the Workflow's name in the ModelVersion's name", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion, build("workflowTemplate", s.namespace))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		// Without the label, the operator's cache does not have it.
		require.NoError(t, s.client.Create(t.Context(), &wfv1.Workflow{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.namespace, Name: workflow.Name(mv.Name, mv.UID, 1),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(mv, v1alpha1.GroupVersion.WithKind("ModelVersion"))},
			},
			Status: wfv1.WorkflowStatus{Phase: wfv1.WorkflowSucceeded},
		}))
		s.createTemplate(s.namespace)

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowNameConflict)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Nil(t, mv.Status.Workflow)
	})
}
