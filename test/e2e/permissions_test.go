//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// editor creates a service account with the cluster's own role edit in a
// namespace, including what the shipped roles add to that, and nothing else. It
// returns its user name.
func (c *cluster) editor(t *testing.T, namespace string) string {
	t.Helper()
	c.create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "editor"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "editor"}},
	})
	return "system:serviceaccount:" + namespace + ":editor"
}

// applyAs creates an object as another user.
func applyAs(t *testing.T, who string, object any) {
	t.Helper()
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "object.json")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	run(t, "kubectl", "create", "--as", who, "-f", file)
}

func TestEditorPermissions(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	who := live.editor(t, ns)
	dir := model(t)
	mv := makeVersion("edited", ns, dir).New()

	applyAs(t, who, mv)

	assertImage(t, live.ready(t, mv), dir)
	for what, args := range map[string][]string{
		"status":           {"patch", "modelversions", "--subresource=status", "-n", ns},
		"templates":        {"patch", "clusterworkflowtemplates"},
		"volumes":          {"create", "persistentvolumes"},
		"other namespaces": {"get", "modelversions", "-n", "default"},
		"policies":         {"patch", "validatingadmissionpolicies"},
		"the operator":     {"get", "configmaps", "-n", "modelkiln-system"},
	} {
		out, err := try(t.Context(), "kubectl", append([]string{"auth", "can-i", "--as", who}, args...)...)
		require.Error(t, err, what)
		assert.Contains(t, out, "no", what)
	}
}

// Only Argo's own container has the token of the service account, with which
// results can be reported for other Workflows of the namespace.
func TestStepsHaveNoToken(t *testing.T) {
	t.Parallel()
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			mv := live.built(t, makeVersion("mv", ns, model(t)).Engine(engine).New())
			pods, err := live.podsOf(t.Context(), ns, mv.Status.Workflow.Name)
			require.NoError(t, err)
			require.Len(t, pods, 1)
			got := map[string]string{}
			for _, container := range pods[0].Spec.Containers {
				for _, mount := range container.VolumeMounts {
					if mount.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount" {
						got[container.Name], _, _ = strings.Cut(mount.Name, "-access-")
					}
				}
			}
			assert.Equal(t, map[string]string{"wait": "kube-api", "mount-check": "no-token", "build": "no-token", "status-report": "no-token", "main": "no-token"}, got)
			assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pods[0].Spec.SecurityContext.SeccompProfile.Type)
		})
	}
}

// Pod Security applies to a build's pod as to any other, no matter who created
// the ModelVersion.
func TestPodForbidden(t *testing.T) {
	t.Parallel()
	ns := live.baselineNamespace(t)
	mv, began := makeVersion("mv", ns, model(t)).New(), time.Now()

	applyAs(t, live.editor(t, ns), mv)
	mv = live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
	took := time.Since(began)

	assertFailed(t, mv, v1alpha1.ReasonPodForbidden, `violates PodSecurity "baseline:latest": hostPath volumes (volume "source")`)
	logNoticed(t, mv, took)
	assert.Contains(t, run(t, "kubectl", "describe", "mv", "-n", ns, mv.Name), v1alpha1.ReasonPodForbidden)
	pods, err := live.podsOf(t.Context(), ns, mv.Status.Workflow.Name)
	require.NoError(t, err)
	assert.Empty(t, pods)
}
