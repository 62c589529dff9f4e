package command

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func resnet(t *testing.T, namespace string) *v1alpha1.Model {
	t.Helper()
	model := &v1alpha1.Model{}
	require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "resnet"}, model))
	return model
}

// setAlias writes the status of the alias production, as the operator does.
func setAlias(t *testing.T, namespace, version, message string, history ...string) {
	t.Helper()
	model := resnet(t, namespace)
	status := v1alpha1.AliasStatus{Name: "production", Version: version, Message: message}
	for _, before := range history {
		status.History = append(status.History, v1alpha1.AliasRecord{Version: before})
	}
	model.Status.Aliases = []v1alpha1.AliasStatus{status}
	require.NoError(t, server.Status().Update(t.Context(), model))
}

func TestPromote(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-6", readyStatus())
	newVersion(t, ns, "mv-7", readyStatus())
	assert.Equal(t, "production of resnet: nothing -> mv-6\n", succeeds(t, ns, "promote", "resnet", "production", "mv-6", "--timeout", "0"))
	setAlias(t, ns, "mv-6", "")
	succeeds(t, ns, "promote", "resnet", "staging", "mv/mv-7", "--timeout", "0")

	out, complaint, ended := inBackground(t, ns, "promote", "resnet", "production", "mv-7")
	shows(t, out, "production of resnet: mv-6 -> mv-7\n")
	setAlias(t, ns, "mv-7", "", "mv-6")
	assert.Equal(t, exitOK, awaitCode(t, ended), complaint)
	assert.Equal(t, []v1alpha1.Alias{{Name: "production", Version: "mv-7"}, {Name: "staging", Version: "mv-7"}}, resnet(t, ns).Spec.Aliases)

	assert.Contains(t, succeeds(t, ns, "__complete", "promote", "resnet", ""), "production\nstaging\n")
	assert.Contains(t, succeeds(t, ns, "__complete", "promote", "mo/resnet", ""), "production\nstaging\n")
	assert.Contains(t, succeeds(t, ns, "__complete", "promote", "resnet", "production", ""), "mv-6\n")
}

func TestPromote_failures(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-5", failedStatus("mv-5-1"))
	newVersion(t, ns, "mv-6", readyStatus())
	require.NoError(t, server.Create(t.Context(), &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bert"}}))
	tests := map[string]struct {
		args []string
		want string
	}{
		"failed version":  {[]string{"resnet", "production", "mv-5"}, "ModelVersion mv-5 is not ready: its state is shown by kubectl kiln why mv-5 -n " + ns},
		"unknown version": {[]string{"resnet", "production", "mv-9"}, "ModelVersion mv-9 does not exist"},
		"unknown Model":   {[]string{"no", "production", "mv-6"}, "Model no does not exist"},
		"other Model":     {[]string{"bert", "production", "mv-6"}, "ModelVersion mv-6 is one of Model resnet, not of bert"},
		"name of alias":   {[]string{"resnet", "Production", "mv-6"}, "the name of an alias consists of lower-case letters, digits and '-'"},
		"no operator":     {[]string{"resnet", "production", "mv-6", "--timeout", "200ms"}, "the alias production is in the spec of Model resnet, and was not in effect within 200ms"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, fails(t, ns, append([]string{"promote"}, tt.args...)...), tt.want)
		})
	}
	setAlias(t, ns, "", "the tag production holds another image")
	assert.Contains(t, fails(t, ns, "promote", "resnet", "production", "mv-6", "--timeout", "200ms"), "the alias production was not moved: the tag production holds another image")
	code, _, complaint := call(t, viewer, ns, "promote", "resnet", "production", "mv-6")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, "ClusterRole modelkiln-edit")
	code, _, complaint = call(t, editor, ns, "promote", "resnet", "production", "mv-6", "--roll", "--timeout", "0")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, complaint, "--roll needs a --timeout")

	deleted := newVersion(t, ns, "mv-4", readyStatus())
	deleted.Finalizers = []string{"example.com/keep"}
	require.NoError(t, server.Update(t.Context(), deleted))
	require.NoError(t, server.Delete(t.Context(), deleted))
	assert.Contains(t, fails(t, ns, "promote", "resnet", "production", "mv-4"), "ModelVersion mv-4 is being deleted: promote another one")

	_, complained, ended := inBackground(t, ns, "promote", "mo/resnet", "canary", "mv-6")
	require.Eventually(t, func() bool { return wantedVersion(resnet(t, ns), "canary") == "mv-6" }, deadline, 10*time.Millisecond)
	require.NoError(t, server.Delete(t.Context(), resnet(t, ns)))
	assert.Equal(t, exitFailed, awaitCode(t, ended))
	assert.Equal(t, "error: the Model resnet was deleted", lastLine(complained.String()))
}

// Two users who change an alias at the same time do not undo each other's change, and what
// else changes in the Model does not matter.
func TestPromote_conflict(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-6", readyStatus())
	p := &promotion{cluster: &cluster{WithWatch: server.WithWatch, namespace: ns}, model: "resnet", alias: "production"}
	stale := resnet(t, ns)
	setAlias(t, ns, "mv-5", "")
	succeeds(t, ns, "promote", "resnet", "staging", "mv-6", "--timeout", "0")
	require.NoError(t, p.patch(t.Context(), stale.DeepCopy(), "mv-6"))
	assert.Equal(t, []v1alpha1.Alias{{Name: "staging", Version: "mv-6"}, {Name: "production", Version: "mv-6"}}, resnet(t, ns).Spec.Aliases)
	require.EqualError(t, p.patch(t.Context(), stale, "mv-7"), "alias production of Model resnet was changed at the same time: run the command again")
	assert.Equal(t, "mv-6", wantedVersion(resnet(t, ns), "production"))
}

func TestPromote_roll(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-6", readyStatus())
	succeeds(t, ns, "promote", "resnet", "production", "mv-6", "--timeout", "0")
	setAlias(t, ns, "mv-6", "")
	assert.Contains(t, fails(t, ns, "promote", "resnet", "production", "mv-6", "--roll"), "the alias is moved, and not all workloads that serve it are restarted: ")

	grantApps(t, ns, "deployments", "statefulsets", "daemonsets")
	code, _, complaint := call(t, editor, ns, "promote", "resnet", "production", "mv-6", "--roll")
	require.Equal(t, exitOK, code, complaint)
	assert.Contains(t, complaint, "No workload in namespace "+ns+" serves the alias production of Model resnet.")

	serves := func(alias string) corev1.PodTemplateSpec {
		labels := map[string]string{"app": alias, v1alpha1.LabelServeModel: "resnet", v1alpha1.LabelServeAlias: alias}
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "image"}}}}
	}
	selector := func(alias string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": alias}}
	}
	meta := metav1.ObjectMeta{Namespace: ns, Name: "server"}
	other := metav1.ObjectMeta{Namespace: ns, Name: "other"}
	for _, object := range []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector("production"), Template: serves("production")}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector("production"), Template: serves("production")}},
		&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector("production"), Template: serves("production")}},
		&appsv1.Deployment{ObjectMeta: other, Spec: appsv1.DeploymentSpec{Selector: selector("staging"), Template: serves("staging")}},
	} {
		require.NoError(t, server.Create(t.Context(), object))
	}
	out := succeeds(t, ns, "promote", "resnet", "production", "mv-6", "--roll")
	for _, kind := range []string{"deployment", "statefulset", "daemonset"} {
		assert.Contains(t, out, kind+"/server restarted: kubectl rollout status -n "+ns+" "+kind+"/server\n")
	}
	assert.NotContains(t, out, "other")
	rolled := &appsv1.Deployment{}
	require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "server"}, rolled))
	first := rolled.Spec.Template.Annotations[restartedAt]
	assert.NotEmpty(t, first)

	rolled.Spec.Paused = true
	require.NoError(t, server.Update(t.Context(), rolled))
	code, out, complaint = call(t, editor, ns, "promote", "resnet", "production", "mv-6", "--roll")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, "deployment/server is paused: kubectl rollout resume -n "+ns+" deployment/server")
	assert.Contains(t, out, "statefulset/server restarted", "the others are")
	rolled.Spec.Paused = false
	require.NoError(t, server.Update(t.Context(), rolled))
	succeeds(t, ns, "promote", "resnet", "production", "mv-6", "--roll")
	require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "server"}, rolled))
	assert.NotEqual(t, first, rolled.Spec.Template.Annotations[restartedAt], "also within the same second")
}

// What a user may restart is restarted, whatever they may not.
func TestPromote_rollSome(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-6", readyStatus())
	succeeds(t, ns, "promote", "resnet", "production", "mv-6", "--timeout", "0")
	setAlias(t, ns, "mv-6", "")
	grantApps(t, ns, "statefulsets")
	labels := map[string]string{v1alpha1.LabelServeModel: "resnet", v1alpha1.LabelServeAlias: "production"}
	require.NoError(t, server.Create(t.Context(), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "server"}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "image"}}}},
	}}))
	code, out, complaint := call(t, editor, ns, "promote", "resnet", "production", "mv-6", "--roll")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "statefulset/server restarted")
	assert.Contains(t, complaint, "not all workloads that serve it are restarted: deployments.apps is forbidden")
	assert.Contains(t, complaint, "daemonsets.apps is forbidden")
	assert.Equal(t, 1, strings.Count(complaint, "\n"), complaint)
}

// grantApps gives the editor what the cluster's role edit has on workloads.
func grantApps(t *testing.T, namespace string, resources ...string) {
	t.Helper()
	grant(t, namespace, editor, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: resources, Verbs: []string{"list", "patch"}})
}

func TestRollback(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-6", readyStatus())
	newVersion(t, ns, "mv-7", readyStatus())
	assert.Contains(t, fails(t, ns, "rollback", "resnet", "production"), "Model resnet has no alias production")
	succeeds(t, ns, "promote", "resnet", "production", "mv-7", "--timeout", "0")
	setAlias(t, ns, "mv-7", "")
	assert.Contains(t, fails(t, ns, "rollback", "resnet", "production"), "alias production of Model resnet has stood for no other ModelVersion than mv-7: there is nothing to roll back to")
	setAlias(t, ns, "mv-7", "", "mv-6", "mv-5")
	assert.Equal(t, "production of resnet: mv-7 -> mv-6\n", succeeds(t, ns, "rollback", "resnet", "production", "--timeout", "0"))
	assert.Equal(t, []v1alpha1.Alias{{Name: "production", Version: "mv-6"}}, resnet(t, ns).Spec.Aliases)
	setAlias(t, ns, "mv-6", "", "mv-5")
	assert.Contains(t, fails(t, ns, "rollback", "resnet", "production"), "ModelVersion mv-5 does not exist")
}

// A promotion that did not take effect is taken back, and nothing else.
func TestRollback_unresolved(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	for _, name := range []string{"mv-6", "mv-7", "mv-8"} {
		newVersion(t, ns, name, readyStatus())
	}
	succeeds(t, ns, "promote", "resnet", "production", "mv-8", "--timeout", "0")
	setAlias(t, ns, "mv-7", "ModelVersion mv-8 is not Ready", "mv-6")
	assert.Equal(t, "production of resnet: mv-8 -> mv-7\n", succeeds(t, ns, "rollback", "resnet", "production"))
	assert.Equal(t, "mv-7", wantedVersion(resnet(t, ns), "production"))
}

// A user who may create ModelVersions does not choose what a rollback brings into production.
func TestRollback_createdAgain(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-7", readyStatus())
	succeeds(t, ns, "promote", "resnet", "production", "mv-7", "--timeout", "0")
	setAlias(t, ns, "mv-7", "", "mv-6")
	model := resnet(t, ns)
	model.Status.Aliases[0].History[0].Digest = digest
	require.NoError(t, server.Status().Update(t.Context(), model))
	forged := readyStatus()
	forged.Digest = "sha256:" + strings.Repeat("0", 64)
	mv := newVersion(t, ns, "mv-6", forged)
	complaint := fails(t, ns, "rollback", "resnet", "production")
	assert.Contains(t, complaint, "ModelVersion mv-6 has another image than when the alias stood for it, "+forged.Digest+" instead of "+digest)
	assert.Contains(t, complaint, "run: kubectl kiln promote resnet production mv-6 -n "+ns)
	assert.Equal(t, "mv-7", wantedVersion(resnet(t, ns), "production"))
	setStatus(t, mv, readyStatus())
	succeeds(t, ns, "rollback", "resnet", "production", "--timeout", "0")
}

func TestDelete(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-5", readyStatus())
	served := newVersion(t, ns, "mv-6", readyStatus())
	newVersion(t, ns, "mv-7", readyStatus())
	newServingPod(t, served, "resnet-7c9f5b8d4-x2x1v")
	succeeds(t, ns, "promote", "resnet", "production", "mv-7", "--timeout", "0")

	assert.Equal(t, "modelversion.model.kubedl.io/mv-5 deleted\n", succeeds(t, ns, "delete", "mv-5"))
	assert.Contains(t, fails(t, ns, "delete", "mv-6"), "ModelVersion mv-6 is in use: deployment/resnet (0/1 ready). Serve another version first, or add --force")
	assert.Contains(t, fails(t, ns, "delete", "mv-7"), "ModelVersion mv-7 is in use: alias production of Model resnet.")
	newVersion(t, ns, "mv-4", readyStatus())
	setAlias(t, ns, "mv-4", "ModelVersion mv-7 is not Ready")
	assert.Contains(t, fails(t, ns, "delete", "mv-4"), "ModelVersion mv-4 is in use: alias production of Model resnet.", "it stands for mv-4 meanwhile")
	assert.Equal(t, "modelversion.model.kubedl.io/mv-6\n", succeeds(t, ns, "delete", "mv-6", "--force", "-o", "name"))
	assert.True(t, strings.HasPrefix(fails(t, ns, "delete", "mv-6", "--force"), "error: ModelVersion mv-6 does not exist"))
}

func TestDelete_force(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-6", readyStatus())
	mv.Finalizers = []string{"example.com/keep"}
	require.NoError(t, server.Update(t.Context(), mv))
	succeeds(t, ns, "delete", "mv-6", "--force")
	require.NoError(t, server.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	assert.Equal(t, "true", mv.Annotations[v1alpha1.AnnotationForceDelete])
	assert.NotNil(t, mv.DeletionTimestamp)
}

// A deletion that is rejected leaves a ModelVersion as protected as it was.
func TestDelete_forceRejected(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-6", readyStatus())
	grant(t, ns, stranger, rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"modelversions"}, Verbs: []string{"get", "patch"}})
	code, _, complaint := call(t, stranger, ns, "delete", "mv-6", "--force")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, `User "stranger" cannot delete`)
	require.NoError(t, server.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	assert.NotContains(t, mv.Annotations, v1alpha1.AnnotationForceDelete)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-1"))
	newVersion(t, ns, "mv-6", v1alpha1.ModelVersionStatus{})
	newVersion(t, ns, "mv-7", readyStatus())
	assert.Equal(t, "https://argo.example.com/workflows/ns/mv-7-1c072-1\n", succeeds(t, ns, "open", "mv-7"))
	assert.Contains(t, fails(t, ns, "open", "mv-5"), "set argoURL in its configuration. The Workflow is mv-5-1c072-1 in namespace "+ns)
	assert.Contains(t, fails(t, ns, "open", "mv-6"), "ModelVersion mv-6 has no build")
	assert.Equal(t, "open", browser("darwin"))
	assert.Equal(t, "xdg-open", browser("linux"))
}
