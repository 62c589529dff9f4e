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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// The roles that deploy/ ships for people. Who has edit in a namespace has both:
// they are added to the cluster's own roles.
const (
	viewRole = "modelkiln-view"
	editRole = "modelkiln-edit"
)

// person is a client of somebody who has these shipped roles in the scene's
// namespace, and no other rights.
func (s scene) person(roles ...string) client.Client {
	s.t.Helper()
	const name = "person"
	for _, role := range roles {
		require.NoError(s.t, s.client.Create(s.t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: name}},
		}))
	}
	c, err := client.New(shared.serviceAccountConfig(s.t, s.namespace, name), client.Options{Scheme: testScheme()})
	require.NoError(s.t, err)
	return c
}

// What the argo command asks of the API server, and the Argo UI for whoever has
// logged in, on a cluster that checks the rights on owner references.
func TestAnEditorMendsAFailedBuildInArgo(t *testing.T) {
	startOperator(t, shared)

	t.Run("by a resubmit", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		editor := s.person(viewRole, editRole)
		s.buildFails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")

		require.NoError(t, editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		require.NoError(t, editor.Get(t.Context(), client.ObjectKey{Name: wf.Spec.WorkflowTemplateRef.Name}, &wfv1.ClusterWorkflowTemplate{}))
		again := s.argo.resubmit(editor, wf)

		assert.Equal(t, wf.OwnerReferences, again.OwnerReferences)
		mv := s.buildSucceeds(again)
		assert.Equal(t, again.Name, mv.Status.Workflow.Name)
	})

	t.Run("by a retry", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		editor := s.person(viewRole, editRole)
		failed := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: wf.Name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example.com/none"}}},
		}
		require.NoError(t, s.client.Create(t.Context(), failed))
		s.buildFails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")

		require.NoError(t, editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		require.NoError(t, editor.Delete(t.Context(), failed))
		wf.Status = wfv1.WorkflowStatus{Phase: wfv1.WorkflowRunning, StartedAt: secondAfter(wf.Status.StartedAt)}
		require.NoError(t, editor.Update(t.Context(), wf))

		mv := s.buildSucceeds(wf)
		assert.Equal(t, wf.Name, mv.Status.Workflow.Name)
	})
}

func TestWhatTheRolesForPeopleAllow(t *testing.T) {
	const look, change = "get,list,watch", "create,update,patch,delete"
	s := newScene(t, shared)
	looking := []rule{
		{groups: v1alpha1.GroupVersion.Group, resources: "models,modelversions", verbs: look},
		{groups: "argoproj.io", resources: "workflows", verbs: look},
		{resources: "pods,events", verbs: look},
		{resources: "pods/log", verbs: "get"},
	}
	changing := []rule{
		{groups: v1alpha1.GroupVersion.Group, resources: "models,modelversions", verbs: change + ",deletecollection"},
		{groups: "argoproj.io", resources: "workflows", verbs: change},
		{resources: "pods", verbs: "delete"},
	}
	never := []rule{
		{groups: v1alpha1.GroupVersion.Group, resources: "models/status,modelversions/status,models/finalizers,modelversions/finalizers", verbs: "update,patch"},
		{groups: "argoproj.io", resources: "clusterworkflowtemplates", verbs: look + "," + change},
		{groups: "argoproj.io", resources: "workflowtaskresults", verbs: change},
		{resources: "pods", verbs: "create,update,patch"},
		{resources: "pods/exec", verbs: "create"},
		{resources: "secrets", verbs: look},
	}
	viewer := s.person(viewRole)
	assertRights(t, viewer, s.namespace, looking, true)
	assertRights(t, viewer, s.namespace, changing, false)
	assertRights(t, viewer, s.namespace, never, false)

	s = newScene(t, shared)
	editor := s.person(viewRole, editRole)
	assertRights(t, editor, s.namespace, looking, true)
	assertRights(t, editor, s.namespace, changing, true)
	assertRights(t, editor, s.namespace, never, false)
	assertRights(t, editor, newScene(t, shared).namespace, looking, false)
}

// assertRights asks the API server whether somebody may do all of this in a
// namespace, or none of it.
func assertRights(t *testing.T, who client.Client, namespace string, rules []rule, want bool) {
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
				require.NoError(t, who.Create(t.Context(), review))
				assert.Equal(t, want, review.Status.Allowed, "%s %s", verb, resource)
			}
		}
	}
}

// Argo reads the template when somebody resubmits, with the rights of theirs.
func TestEveryoneReadsTheTemplateAndNoOther(t *testing.T) {
	s := newScene(t, shared)
	s.template(s.namespace)
	nobody := s.person()

	template := &wfv1.ClusterWorkflowTemplate{}
	require.NoError(t, nobody.Get(t.Context(), client.ObjectKey{Name: contract.BuildTemplate}, template))

	err := nobody.Get(t.Context(), client.ObjectKey{Name: s.namespace}, &wfv1.ClusterWorkflowTemplate{})
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
	err = nobody.List(t.Context(), &wfv1.ClusterWorkflowTemplateList{})
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
	err = nobody.Delete(t.Context(), template)
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
}

func TestTheRolesForPeopleAreAddedToTheClustersOwn(t *testing.T) {
	for role, want := range map[string][]string{
		"view":  {viewRole},
		"edit":  {editRole, viewRole},
		"admin": {editRole, viewRole},
	} {
		var shipped rbacv1.ClusterRoleList
		require.NoError(t, shared.admin.List(t.Context(), &shipped, client.MatchingLabels{"rbac.authorization.k8s.io/aggregate-to-" + role: "true"}))
		var got []string
		for _, r := range shipped.Items {
			if strings.HasPrefix(r.Name, "modelkiln-") {
				got = append(got, r.Name)
			}
		}
		assert.Equal(t, want, got, role)
	}
}
