//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// person makes a service account's rights: those of the roles that deploy/
// ships for who may edit in a namespace, and no others. The cluster's own role
// edit has more, Argo's for one. It returns the name to act by.
func (c *cluster) person(t *testing.T, namespace string) string {
	t.Helper()
	for _, role := range []string{"modelkiln-view", "modelkiln-edit"} {
		c.create(t, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "person"}},
		})
	}
	return "system:serviceaccount:" + namespace + ":person"
}

func TestAPersonWithTheShippedRolesMendsAFailedBuildInArgo(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	person := live.person(t, ns)
	for again, workflows := range map[string]int{"retry": 1, "resubmit": 2} {
		t.Run(again, func(t *testing.T) {
			t.Parallel()
			dir := newFolder(t)
			mv, _ := live.failed(t, makeVersion(again, ns, dir).Model(again).New())
			assertRefusal(t, mv, v1alpha1.ReasonSourceEmpty, string(dir))
			failed := mv.Status.Workflow.Name
			assert.Contains(t, run(t, "argo", "logs", "-n", ns, "--as", person, failed, "-c", "mount-check"), v1alpha1.ReasonSourceEmpty)
			dir.write(t, "model.bin", "weights")

			live.letGo(t, ns, failed)
			run(t, "argo", again, "-n", ns, "--as", person, failed)

			holds(t, live.readyAgain(t, mv), dir)
			assert.Len(t, live.workflowsOf(t, mv), workflows)
		})
	}
}

func TestAPersonWithTheShippedRolesEndsABuildInArgo(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	person := live.person(t, ns)
	dir := newFolder(t)
	dir.random(t, "weights.bin", 60<<20)
	mv := makeVersion("ended", ns, dir).New()
	live.create(t, mv)
	running := live.running(t, mv)

	run(t, "argo", "stop", "-n", ns, "--as", person, running.Status.Workflow.Name)

	mv = live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
	assertRefusal(t, mv, v1alpha1.ReasonWorkflowStopped, running.Status.Workflow.Name)
}

func TestAPersonWithTheShippedRolesStaysInTheirNamespace(t *testing.T) {
	t.Parallel()
	person := live.person(t, live.namespace(t))
	_, err := try(t.Context(), "argo", "list", "-n", live.namespace(t), "--as", person)
	require.ErrorContains(t, err, "not allowed to list workflows")
}
