package integration

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// installNamespaced installs the operator as deploy/components/namespaced does:
// with permissions in these namespaces only.
func (s *apiServer) installNamespaced(t *testing.T, namespaces ...string) {
	t.Helper()
	require.NoError(t, s.install(deployRBAC, workflowTemplates, kanikoTemplate))
	require.NoError(t, s.admin.Delete(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "modelkiln-namespaced"}}))
	bindings, err := readManifests(deployNamespaced + "/role_bindings.yaml")
	require.NoError(t, err)
	for _, namespace := range namespaces {
		for _, binding := range bindings {
			binding = binding.DeepCopy()
			binding.SetNamespace(namespace)
			require.NoError(t, s.admin.Create(t.Context(), binding))
		}
	}
}

// assertNothingForbidden checks that the operator has not sent a request that it
// had no permission for.
func (op *operator) assertNothingForbidden(t *testing.T) {
	t.Helper()
	for _, r := range op.transport.all() {
		assert.NotEqual(t, http.StatusForbidden, r.status, "%s", r)
	}
}

func TestNamespacedInstallation(t *testing.T) {
	server := newAPIServer(t, modelkilnCRDs, argoCRDs())
	s, second, outside := newSandbox(t, server), newSandbox(t, server), newSandbox(t, server)
	server.installNamespaced(t, s.namespace, second.namespace)
	outside.create(localVersion)
	for _, each := range []sandbox{s, outside} {
		each.allowVersionsFromWorkloads()
		each.completeJob(each.createJobWithTemplate("train", claimTemplate))
	}
	blocked := s.createWorkloads("blocked", v1alpha1.LabelServeVersion, resnet)

	op := startOperator(t, server, withConfig(func(c *config.Config) { c.Namespaces = []string{s.namespace, second.namespace} }))

	second.createReady()
	s.create(localVersion)
	wf := s.argo.awaitAttempt(s.version(resnet), 1)
	s.awaitReadyMark(blocked, workload.ReadyMark(s.completeBuild(wf)))
	job := s.newJob("train")
	s.refresh(t, job)
	s.awaitVersion(job)
	for _, r := range op.transport.all() {
		assert.False(t, r.inNamespace(outside.namespace), "%s", r)
	}
	op.assertNothingForbidden(t)
	assert.Empty(t, outside.version(resnet).Status)
}

// Without the components of deploy/, the operator builds, and says what it may not
// do.
func TestInstallationWithoutComponents(t *testing.T) {
	server := newAPIServer(t, modelkilnCRDs, argoCRDs())
	require.NoError(t, server.install(deployRBAC, workflowTemplates, kanikoTemplate))
	op := startOperator(t, server, withEFS())

	t.Run("serving", func(t *testing.T) {
		s := newSandbox(t, server)
		blocked := s.createWorkloads("blocked", v1alpha1.LabelServeVersion, resnet)
		s.createReady()
		op.drainQueue(t, server)
		for _, w := range blocked {
			s.refresh(t, w)
			assert.NotContains(t, w.GetAnnotations(), v1alpha1.AnnotationModelReady)
		}
		denied := 0
		for _, r := range op.transport.all() {
			if r.inNamespace(s.namespace) && r.status == http.StatusForbidden {
				denied++
			}
		}
		assert.Less(t, denied, 10, "a denied request is not repeated without a change")
	})
	t.Run("versions from workloads", func(t *testing.T) {
		s := newSandbox(t, server)
		s.allowVersionsFromWorkloads()
		s.completeJob(s.createJobWithTemplate("train", claimTemplate))
		s.awaitEvent("Job", lifecycle.EventRefused, "the component deploy/components/versions-from-workloads contains")
		s.assertNoVersions()
	})
	t.Run("EFS", func(t *testing.T) {
		s := newSandbox(t, server)
		s.create(efsVersion)
		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Contains(t, mv.Status.Message, "which the component deploy/components/efs contains")
		require.NoError(t, server.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "modelkiln-efs"},
			RoleRef:    clusterRole("modelkiln-efs"),
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: operatorAccount}},
		}))
		s.argo.awaitOnlyWorkflow()
	})
}

// The API server accepts the operator's objects and those of all components, and knows
// all of their fields.
func TestComponents(t *testing.T) {
	files, err := filepath.Glob(deployComponents + "/*/*.yaml")
	require.NoError(t, err)
	manager, err := filepath.Glob("../../deploy/manager/*.yaml")
	require.NoError(t, err)
	checked := 0
	for _, file := range slices.Concat(files, manager) {
		objects, err := readManifests(file)
		require.NoError(t, err)
		for _, o := range objects {
			if !slices.Contains([]string{"", "Component", "Kustomization"}, o.GetKind()) {
				err := shared.admin.Create(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
				require.NoError(t, client.IgnoreAlreadyExists(err), file)
				checked++
			}
		}
	}
	assert.Equal(t, 10, checked)
}
