package integration

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/webhook/certs"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// The roles of deploy/ for users. They aggregate to the cluster's own roles, so
// that a user with edit in a namespace has both.
const (
	viewRole = "modelkiln-view"
	editRole = "modelkiln-edit"
)

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

// userWithRoles returns the client of a user who has these ClusterRoles in the
// sandbox's namespace, and no other permissions.
func (s sandbox) userWithRoles(roles ...string) client.Client {
	s.t.Helper()
	refs := make([]rbacv1.RoleRef, 0, len(roles))
	for _, role := range roles {
		refs = append(refs, clusterRole(role))
	}
	return shared.clientWithRoles(s.t, s.namespace, "user", refs...)
}

// An editor sends the requests of the argo command and of Argo's UI, to an API
// server that checks permissions on owner references.
func TestRolesEditorFixesBuildInArgo(t *testing.T) {
	startOperator(t, shared)

	t.Run("resubmit", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		editor := s.userWithRoles(viewRole, editRole)
		s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")

		require.NoError(t, editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		require.NoError(t, editor.Get(t.Context(), client.ObjectKey{Name: wf.Spec.WorkflowTemplateRef.Name}, &wfv1.ClusterWorkflowTemplate{}))
		again := s.argo.resubmit(editor, wf)

		assert.Equal(t, wf.OwnerReferences, again.OwnerReferences)
		mv := s.completeBuild(again)
		assert.Equal(t, again.Name, mv.Status.Workflow.Name)
	})

	t.Run("retry", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		editor := s.userWithRoles(viewRole, editRole)
		failed := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: wf.Name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example.com/none"}}},
		}
		require.NoError(t, s.client.Create(t.Context(), failed))
		s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")

		require.NoError(t, editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		require.NoError(t, editor.Delete(t.Context(), failed))
		wf.Status = wfv1.WorkflowStatus{Phase: wfv1.WorkflowRunning, StartedAt: s.argo.secondAfter(wf.Status.StartedAt)}
		require.NoError(t, editor.Update(t.Context(), wf))

		mv := s.completeBuild(wf)
		assert.Equal(t, wf.Name, mv.Status.Workflow.Name)
	})
}

// Lists of verbs.
const (
	readVerbs  = "get,list,watch"
	writeVerbs = "create,update,patch,delete"
)

func TestRolesForUsers(t *testing.T) {
	viewPermissions := []rule{
		{groups: v1alpha1.GroupVersion.Group, resources: "models,modelversions", verbs: readVerbs},
		{groups: "argoproj.io", resources: "workflows", verbs: readVerbs},
		{resources: "pods,events", verbs: readVerbs},
		{resources: "pods/log", verbs: "get"},
		{resources: "namespaces", verbs: "get"},
		{resources: "resourcequotas,limitranges", verbs: "list"},
	}
	editPermissions := []rule{
		{groups: v1alpha1.GroupVersion.Group, resources: "models,modelversions", verbs: writeVerbs + ",deletecollection"},
		{groups: "argoproj.io", resources: "workflows", verbs: writeVerbs},
		{resources: "pods", verbs: "delete"},
	}
	neverGranted := []rule{
		{groups: v1alpha1.GroupVersion.Group, resources: "models/status,modelversions/status,models/finalizers,modelversions/finalizers", verbs: "update,patch"},
		{groups: "argoproj.io", resources: "clusterworkflowtemplates", verbs: readVerbs + "," + writeVerbs},
		{groups: "argoproj.io", resources: "workflowtaskresults", verbs: writeVerbs},
		{resources: "pods", verbs: "create,update,patch"},
		{resources: "pods/exec", verbs: "create"},
		{resources: "secrets", verbs: readVerbs},
		// Which version the pods of a workload serve is recorded there.
		{groups: "apps", resources: "controllerrevisions", verbs: writeVerbs},
	}
	t.Run("view", func(t *testing.T) {
		s := newSandbox(t, shared)
		viewer := s.userWithRoles(viewRole)
		assertPermissions(t, viewer, s.namespace, viewPermissions, true)
		assertPermissions(t, viewer, s.namespace, editPermissions, false)
		assertPermissions(t, viewer, s.namespace, neverGranted, false)
	})
	t.Run("edit", func(t *testing.T) {
		s := newSandbox(t, shared)
		editor := s.userWithRoles(viewRole, editRole)
		assertPermissions(t, editor, s.namespace, viewPermissions, true)
		assertPermissions(t, editor, s.namespace, editPermissions, true)
		assertPermissions(t, editor, s.namespace, neverGranted, false)
		assertPermissions(t, editor, newSandbox(t, shared).namespace, viewPermissions, false)
	})
}

// Only the operator writes the status.
func TestRolesStatus(t *testing.T) {
	s := newSandbox(t, shared)
	editor := s.userWithRoles(editRole)
	o := newObject(t, s.namespace, localVersion, set("status.imageBuildPhase", "ImageBuildSucceeded", "status.image", "modelhub/resnet:forged"))
	require.NoError(t, editor.Create(t.Context(), o))
	mv := s.version(resnet)
	assert.Equal(t, v1alpha1.ModelVersionStatus{}, mv.Status, "the API server ignores a status on creation")

	before := mv.DeepCopy()
	mv.Status.ImageBuildPhase = v1alpha1.ImageBuildSucceeded
	err := editor.Status().Patch(t.Context(), mv, client.MergeFrom(before))
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
}

func TestRolesOperator(t *testing.T) {
	operator := shared.operatorClient(t)

	t.Run("reads no Secret but its own", func(t *testing.T) {
		assertPermissions(t, operator, operatorNamespace, []rule{{resources: "secrets", verbs: readVerbs + "," + writeVerbs}}, false)

		own := client.MatchingFields{metav1.ObjectNameField: certs.SecretName}
		require.NoError(t, operator.List(t.Context(), &corev1.SecretList{}, client.InNamespace(operatorNamespace), own))
		err := operator.List(t.Context(), &corev1.SecretList{}, client.InNamespace(newSandbox(t, shared).namespace), own)
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})

	t.Run("has no access to webhook configurations by other names", func(t *testing.T) {
		assertPermissions(t, operator, "", []rule{{
			groups: "admissionregistration.k8s.io", resources: "mutatingwebhookconfigurations,validatingwebhookconfigurations", verbs: readVerbs + "," + writeVerbs,
		}}, false)
	})

	t.Run("changes no namespace objects of other names", func(t *testing.T) {
		s := newSandbox(t, shared)
		for _, o := range []client.Object{&corev1.ConfigMap{}, &corev1.ServiceAccount{}, &rbacv1.RoleBinding{RoleRef: clusterRole("modelkiln-build")}} {
			o.SetNamespace(s.namespace)
			o.SetName("other")
			require.NoError(t, s.client.Create(t.Context(), o))
			err := operator.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`)))
			assert.True(t, apierrors.IsForbidden(err), "%T: %v", o, err)
		}
	})

	// A client that can change pod templates can run anything with the
	// permissions of any service account.
	t.Run("changes no pod templates", func(t *testing.T) {
		s := newSandbox(t, shared)
		for _, w := range s.createWorkloads("server", v1alpha1.LabelServeVersion, resnet) {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"server","image":"registry.example.com/evil"}]}}}}`))
			err := operator.Patch(t.Context(), w.DeepCopyObject().(client.Object), patch)
			require.True(t, apierrors.IsForbidden(err), "%T: %v", w, err)

			// A patch of the status subresource is allowed and ignores the template.
			require.NoError(t, operator.Status().Patch(t.Context(), w, patch))
			s.refresh(t, w)
			assert.EqualValues(t, 1, w.GetGeneration(), "%T", w)
		}
		// It watches Jobs, for which ModelVersions may wait.
		assertPermissions(t, operator, s.namespace, []rule{
			{groups: "apps", resources: "replicasets,statefulsets,daemonsets,deployments", verbs: "get,watch," + writeVerbs},
			{groups: "batch", resources: "jobs", verbs: writeVerbs},
		}, false)
	})
}

// assertPermissions checks that a client has all of these permissions in a
// namespace, or none of them.
func assertPermissions(t *testing.T, c client.Client, namespace string, rules []rule, want bool) {
	t.Helper()
	for _, r := range rules {
		for _, resource := range strings.Split(r.resources, ",") {
			for _, verb := range strings.Split(r.verbs, ",") {
				name, subresource, _ := strings.Cut(resource, "/")
				review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: namespace, Group: r.groups, Resource: name, Subresource: subresource, Verb: verb,
					},
				}}
				require.NoError(t, c.Create(t.Context(), review))
				assert.Equal(t, want, review.Status.Allowed, "%s %s", verb, resource)
			}
		}
	}
}

// Argo reads the template with the permissions of the user who resubmits a
// Workflow.
func TestRolesTemplateAccess(t *testing.T) {
	s := newSandbox(t, shared)
	s.createTemplate(s.namespace)
	user := s.userWithRoles()

	template := &wfv1.ClusterWorkflowTemplate{}
	require.NoError(t, user.Get(t.Context(), client.ObjectKey{Name: contract.BuildTemplate}, template))

	err := user.Get(t.Context(), client.ObjectKey{Name: s.namespace}, &wfv1.ClusterWorkflowTemplate{})
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
	err = user.List(t.Context(), &wfv1.ClusterWorkflowTemplateList{})
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
	err = user.Delete(t.Context(), template)
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
}

func TestRolesAggregation(t *testing.T) {
	for role, want := range map[string][]string{
		"view":  {viewRole},
		"edit":  {editRole, viewRole},
		"admin": {editRole, viewRole},
	} {
		var list rbacv1.ClusterRoleList
		require.NoError(t, shared.admin.List(t.Context(), &list, client.MatchingLabels{"rbac.authorization.k8s.io/aggregate-to-" + role: "true"}))
		var got []string
		for _, r := range list.Items {
			if strings.HasPrefix(r.Name, "modelkiln-") {
				got = append(got, r.Name)
			}
		}
		assert.Equal(t, want, got, role)
	}
}
