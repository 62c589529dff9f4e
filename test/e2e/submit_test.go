//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// submitter is a user who can start Workflows in a namespace from the platform
// team's templates, and nothing else.
type submitter struct {
	namespace, user string
}

// submitter creates a namespace that is prepared for builds by hand, as the
// documentation says, and a user of it. The operator has never seen the
// namespace.
func (c *cluster) submitter(t *testing.T) submitter {
	t.Helper()
	ns := c.namespace(t)
	prepare(t, ns)
	s := submitter{namespace: ns, user: "e2e-user-of-" + ns}
	c.create(t, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "starts-workflows"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"create", "get", "list", "watch"}}},
	})
	c.create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "starts-workflows"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "starts-workflows"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: s.user}},
	})
	c.maySeeTemplates(t, s.user)
	return s
}

// maySeeTemplates allows a user to read ClusterWorkflowTemplates: the argo
// command checks a submission against its template before it sends it, and
// requires all of these rights.
func (c *cluster) maySeeTemplates(t *testing.T, user string) {
	t.Helper()
	name := metav1.ObjectMeta{Name: user}
	role := &rbacv1.ClusterRole{
		ObjectMeta: name,
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"argoproj.io"}, Resources: []string{"clusterworkflowtemplates"}, Verbs: []string{"get", "list", "watch"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: name,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	c.create(t, role)
	c.deleteAfter(t, role)
	c.create(t, binding)
	c.deleteAfter(t, binding)
}

// prepare applies workflow-templates/namespace with the namespace's name in the
// one place where it belongs.
func prepare(t *testing.T, namespace string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../workflow-templates/namespace")))
	file := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "namespace: default"))
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), "namespace: default", "namespace: "+namespace, 1)), 0o644))
	run(t, "kubectl", "apply", "-k", dir)
}

// submit starts a build of the directory with Argo alone, with some parameters
// set, and returns the Workflow's name.
func (s submitter) submit(ctx context.Context, from directory, parameters map[string]string) (string, error) {
	all := map[string]string{
		contract.ParamImage:       live.registry + "/e2e/" + s.namespace + ":v1",
		contract.ParamStorageKind: "localStorage",
		contract.ParamStoragePath: string(from),
		contract.ParamNodeName:    nodeName,
	}
	for name, value := range parameters {
		all[name] = value
	}
	args := []string{"submit", "--from", "clusterworkflowtemplate/" + contract.BuildTemplate, "-n", s.namespace, "--as", s.user, "-o", "name"}
	for name, value := range all {
		args = append(args, "-p", name+"="+value)
	}
	out, err := try(ctx, "argo", args...)
	return strings.TrimSpace(out), err
}

func TestArgoSubmit(t *testing.T) {
	t.Parallel()
	s := live.submitter(t)
	dir := model(t)

	name, err := s.submit(t.Context(), dir, nil)
	require.NoError(t, err)

	wf := live.finished(t, s.namespace, name)
	require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
	left := reportOf(t, wf)
	img := content.OfImage(t, left.Run.Image)
	assert.Equal(t, dir.entries(t), img.Model)
	assert.Equal(t, img.Digest, left.Image.Digest)
	assert.Contains(t, img.Config.Env, "KUBEDL_MODEL_PATH=/kubedl-model")
	assertSteps(t, wf)
}

// assertSteps checks that the Argo UI shows the steps by name.
func assertSteps(t *testing.T, wf *wfv1.Workflow) {
	t.Helper()
	phases := map[string]wfv1.NodePhase{}
	for _, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer {
			phases[node.DisplayName] = node.Phase
		}
	}
	assert.Equal(t, map[string]wfv1.NodePhase{
		contract.StepMountCheck:   wfv1.NodeSucceeded,
		contract.StepBuild:        wfv1.NodeSucceeded,
		contract.StepStatusReport: wfv1.NodeSucceeded,
		"main":                    wfv1.NodeSucceeded,
	}, phases)
}

// The cluster's Argo runs in Strict mode. Without this, the test above would
// prove little.
func TestArgoStrictTemplateReferencing(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	wf := &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "own"},
		Spec: wfv1.WorkflowSpec{
			Entrypoint: "own",
			Templates:  []wfv1.Template{{Name: "own", Container: &corev1.Container{Image: live.registry + "/library/busybox:1.37", Command: []string{"true"}}}},
		},
	}
	live.create(t, wf)
	ended := live.finished(t, ns, "own")
	assert.Equal(t, wfv1.WorkflowError, ended.Status.Phase)
	assert.Contains(t, ended.Status.Message, "workflowTemplateRef")
}
