package integration

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestNamespaceObjects(t *testing.T) {
	labels := map[string]string{"app.kubernetes.io/managed-by": "modelkiln"}

	t.Run("service account, RoleBinding and an empty CA bundle are created", func(t *testing.T) {
		startOperator(t, shared)
		s := newSandbox(t, shared)
		s.create(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)

		var account corev1.ServiceAccount
		s.get(t, contract.BuildServiceAccount, &account)
		assert.Equal(t, labels, account.Labels)
		var binding rbacv1.RoleBinding
		s.get(t, contract.BuildServiceAccount, &binding)
		assert.Equal(t, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-build"}, binding.RoleRef)
		assert.Equal(t, []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "modelkiln-build"}}, binding.Subjects)
		var bundle corev1.ConfigMap
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Empty(t, bundle.Data)
	})

	t.Run("the CA bundle follows the configuration", func(t *testing.T) {
		withCABundle := func(pem string) func(*settings) {
			return withConfig(func(c *config.Config) {
				c.Registries = []config.Registry{{Host: "registry.example.com", CABundle: pem}}
			})
		}
		op := startOperator(t, shared, withCABundle("old"))
		s := newSandbox(t, shared)
		s.create(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		var bundle corev1.ConfigMap
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Equal(t, map[string]string{"ca.crt": "old\n"}, bundle.Data)
		assert.Equal(t, labels, bundle.Labels)
		op.stop()

		op = startOperator(t, shared, withCABundle("new"))
		s.create(localVersion, set("metadata.name", "resnet-2"))
		s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowPending)
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Equal(t, map[string]string{"ca.crt": "new\n"}, bundle.Data)
		op.stop()

		startOperator(t, shared)
		s.create(localVersion, set("metadata.name", "resnet-3"))
		s.awaitReason("resnet-3", v1alpha1.ReasonWorkflowPending)
		bundle = corev1.ConfigMap{}
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Empty(t, bundle.Data, "certificates that were removed from the configuration are no longer trusted")
	})

	t.Run("missing fields of existing objects are restored, fields of others are kept", func(t *testing.T) {
		startOperator(t, shared)
		s := newSandbox(t, shared)
		require.NoError(t, s.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: contract.BuildServiceAccount, Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:x"},
		}}))
		require.NoError(t, s.client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: contract.BuildServiceAccount},
			RoleRef:    clusterRole("modelkiln-build"),
		}))
		s.create(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)

		var account corev1.ServiceAccount
		s.get(t, contract.BuildServiceAccount, &account)
		assert.Equal(t, map[string]string{"team": "a", "app.kubernetes.io/managed-by": "modelkiln"}, account.Labels)
		assert.Equal(t, "arn:x", account.Annotations["eks.amazonaws.com/role-arn"])
		var binding rbacv1.RoleBinding
		s.get(t, contract.BuildServiceAccount, &binding)
		assert.Len(t, binding.Subjects, 1)
	})
}

func TestNamespaceTerminating(t *testing.T) {
	terminating := newSandbox(t, shared)
	terminating.create(localVersion)
	terminating.terminateNamespace()
	op := startOperator(t, shared)

	t.Run("nothing is created for a new ModelVersion", func(t *testing.T) {
		t.Parallel()
		isInNamespace := func(r request) bool { return r.inNamespace(terminating.namespace) && r.status == http.StatusForbidden }
		op.awaitRequest(t, isInNamespace, "in the namespace that the API server rejects")
		op.drainQueue(t, shared)

		// Argo's kinds, which become known at the same time, start a pass of their own.
		before := op.transport.changes(terminating.namespace)
		assert.Equal(t, []string{"post models"}, slices.Compact(slices.Clone(before)))
		op.drainQueue(t, shared)
		assert.Equal(t, before, op.transport.changes(terminating.namespace), "the operator does not retry")
		assert.Empty(t, terminating.version(resnet).Status)
	})

	t.Run("a deleted Workflow is not replaced", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		want := s.awaitWorkflowPhase(resnet, wf, "").Status
		s.terminateNamespace()

		require.NoError(t, s.client.Delete(t.Context(), wf))
		op.awaitLookup(t, s.namespace, wf.Name)
		op.drainQueue(t, shared)

		assert.Empty(t, s.argo.workflows())
		assert.Equal(t, want, s.version(resnet).Status, "the status does not change")
	})
}

// terminateNamespace begins the deletion of the sandbox's namespace. The
// namespace controller, which does not run here, would complete it.
func (s sandbox) terminateNamespace() {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	require.NoError(s.t, s.client.Delete(s.t.Context(), namespace))
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		require.NoError(c, s.client.Get(s.t.Context(), client.ObjectKeyFromObject(namespace), namespace))
		assert.Equal(c, corev1.NamespaceTerminating, namespace.Status.Phase)
		// The API server's admission sees the deletion a moment later.
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "probe-"}}
		assert.Error(c, s.client.Create(s.t.Context(), probe, client.DryRunAll))
	}, deadline, tick)
}

// assignUsers annotates the sandbox's namespace as OpenShift does.
func (s sandbox) assignUsers() {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"openshift.io/sa.scc.uid-range":"1000700000/10000"}}}`))
	require.NoError(s.t, s.client.Patch(s.t.Context(), namespace, patch))
}

func TestNamespaceAssignsUsers(t *testing.T) {
	s := newSandbox(t, shared)
	startOperator(t, shared, withConfig(func(c *config.Config) {
		c.NamespaceStreamWorkflowTemplates = map[string]string{s.namespace: s.namespace}
	}))
	s.createTemplate(s.namespace)
	s.assignUsers()
	s.create(claimVersion, build("engine", "Stream"))
	assert.Equal(t, "true", argument(s.argo.awaitOnlyWorkflow(), contract.ParamAssignedUser))
}
