package integration

import (
	"fmt"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAVersionThatCannotStartSaysWhy(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("its host path is denied", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion, set(localPath, "/etc/kubernetes"))

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceForbidden)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "/etc/kubernetes cannot be packaged because it is inside /etc")
		assert.Empty(t, s.argo.workflows())
	})

	t.Run("its file system is none that the platform team allows", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceForbidden)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "fs-12345678 cannot be packaged because this cluster allows no AWS EFS volume (allowedEFS is empty)")
		assert.Empty(t, s.argo.workflows())
		assert.Empty(t, mv.Finalizers)
	})

	t.Run("its template is missing, and it goes on when that appears", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		name := s.namespace // Templates have no namespace, so this is a name of its own.
		s.apply(localVersion, build("workflowTemplate", name))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		assert.Equal(t, waiting, states(mv))
		assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
		assert.Empty(t, s.argo.workflows())

		s.template(name)

		wf := s.argo.awaitOnlyWorkflow()
		assert.Equal(t, name, wf.Spec.WorkflowTemplateRef.Name)
		s.buildSucceeds(wf)
	})

	t.Run("its template is not for versions to name, and it goes on when it is", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.template(s.namespace)
		template := &wfv1.ClusterWorkflowTemplate{}
		marked := func(value string) {
			require.NoError(t, s.client.Get(t.Context(), client.ObjectKey{Name: s.namespace}, template))
			before := template.DeepCopy()
			template.Labels[v1alpha1.LabelBuildTemplate] = value
			require.NoError(t, s.client.Patch(t.Context(), template, client.MergeFrom(before)))
		}
		marked("false")
		s.apply(localVersion, build("workflowTemplate", s.namespace))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateNotAllowed)
		assert.Equal(t, waiting, states(mv))
		assert.Empty(t, s.argo.workflows())

		marked("true")

		assert.Equal(t, s.namespace, s.argo.awaitOnlyWorkflow().Spec.WorkflowTemplateRef.Name)
	})

	t.Run("a quota is used up, and it goes on when there is more", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		const counted = "count/workflows.argoproj.io"
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "few"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse("0")}},
		}
		require.NoError(t, s.client.Create(t.Context(), quota))
		// No controller counts here.
		quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{counted: resource.MustParse("0")}}
		require.NoError(t, s.client.Status().Update(t.Context(), quota))
		s.apply(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Equal(t, waiting, states(mv))
		assert.Contains(t, mv.Status.Message, "exceeded quota: few, requested: count/workflows.argoproj.io=1, used: count/workflows.argoproj.io=0, limited: count/workflows.argoproj.io=0")
		assert.Empty(t, s.argo.workflows())

		require.NoError(t, s.client.Delete(t.Context(), quota))
		mv = s.buildSucceeds(s.argo.awaitOnlyWorkflow())
		assert.Equal(t, int64(1), mv.Status.Attempts)
	})

	t.Run("the namespace has a binding of that name to another role", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		require.NoError(t, s.client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: contract.BuildServiceAccount},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		}))
		s.apply(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Equal(t, waiting, states(mv))
		assert.Contains(t, mv.Status.Message, "cannot change roleRef")
	})

	t.Run("a Workflow of its name is somebody else's", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		// The first attempt's name is known only when the version is there.
		s.apply(localVersion, build("workflowTemplate", s.namespace))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		theirs := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: translate.WorkflowName(mv.Name, mv.UID, 1)}}
		require.NoError(t, s.client.Create(t.Context(), theirs))
		s.template(s.namespace)

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowNameConflict)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, fmt.Sprintf("kubectl delete wf -n %s %s", s.namespace, theirs.Name))
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		op.settles(t, shared)
		assert.Nil(t, s.version(resnet).Status.Workflow)

		require.NoError(t, s.client.Delete(t.Context(), theirs))
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.True(t, metav1.IsControlledBy(s.argo.awaitOnlyWorkflow(), mv))
	})
}
