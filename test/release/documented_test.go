package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

var (
	// shellBlock matches a block of commands in deploy/README.md, which can be indented.
	shellBlock = regexp.MustCompile("(?ms)^( *)```sh\n(.*?)^ *```$")
	// kustomizationBlock matches the kustomization that users write.
	kustomizationBlock = regexp.MustCompile("(?s)### Kustomize\n.*?```yaml\n(.*?)```")
	// downgradeBlock matches the kustomization without CRDs.
	downgradeBlock = regexp.MustCompile("(?s)### Downgrade\n.*?```yaml\n(.*?)```")
)

// testedElsewhere are the blocks of commands that these tests do not run, by section and
// position, with what does.
var testedElsewhere = map[string]string{
	"Make a release 0":       "TestRelease",
	"Make a release 1":       "a registry with accounts, and ko's own tests",
	"Helm 1":                 "TestChart in test/e2e; TestInstallationCheck in test/integration",
	"Identities of clouds 0": "TestNamespaceObjects in test/integration: the operator keeps annotations",
	"Certificates 0":         "TestWebhookCertificateRotationUnderLoad in test/integration",
	"Argo UI 0":              "TestUserInterface in test/argo",
	"Argo CD 0":              "TestArgoCDHealthAgreesWithKstatus in test/argo runs the script",
}

// documentedBlocks returns the blocks of commands of deploy/README.md, by the title of
// their section and their position in it.
func documentedBlocks(t *testing.T) map[string]string {
	t.Helper()
	text := string(read(t, checkout, "deploy/README.md"))
	blocks, count := map[string]string{}, map[string]int{}
	heading := regexp.MustCompile(`(?m)^##+ (.*)$`)
	for _, at := range shellBlock.FindAllStringSubmatchIndex(text, -1) {
		titles := heading.FindAllStringSubmatch(text[:at[0]], -1)
		title := titles[len(titles)-1][1]
		commands := strings.ReplaceAll("\n"+text[at[4]:at[5]], "\n"+text[at[2]:at[3]], "\n")
		blocks[title+" "+string(rune('0'+count[title]))] = commands
		count[title]++
	}
	return blocks
}

// platform is a cluster without nodes, and the directory in which a platform team runs the
// commands of deploy/README.md.
type platform struct {
	client client.WithWatch
	dir    string
	env    []string
	// blocks are the documented commands, and ran those that were run.
	blocks map[string]string
	ran    map[string]bool
	// local replaces the hosts and versions of the documentation.
	local *strings.Replacer
}

// newPlatform starts an API server with Argo's CRDs for a release in dist, which was
// pushed to a repository.
func newPlatform(t *testing.T, dist, repository, version string) *platform {
	t.Helper()
	require.NotEmpty(t, os.Getenv("KUBEBUILDER_ASSETS"), "run the test with make test, or set KUBEBUILDER_ASSETS to the directory that `go -C test/cluster run . assets` prints")
	ctrllog.SetLogger(logr.Discard())
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, apiextensionsv1.AddToScheme(scheme))
	environment := &envtest.Environment{Scheme: scheme, CRDDirectoryPaths: []string{argoCRDs(t)}, ErrorIfCRDPathMissing: true}
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	user, err := environment.AddUser(envtest.User{Name: "platform", Groups: []string{"system:masters"}}, nil)
	require.NoError(t, err)
	kubeconfig, err := user.KubeConfig()
	require.NoError(t, err)

	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubeconfig"), kubeconfig, 0o600))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "dist"), os.DirFS(dist)))
	root, err := filepath.Abs(checkout)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(filepath.Join(root, "deploy"), filepath.Join(dir, "deploy")))
	p := &platform{
		client: c, dir: dir, blocks: documentedBlocks(t), ran: map[string]bool{},
		env: append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), "HOME="+dir, "PATH="+programs(t, dir)+":"+os.Getenv("PATH")),
		local: strings.NewReplacer(
			"registry.example.com/modelkiln", repository, "mirror.example.com", startRegistry(t),
			"0.1.0", chart.Version(version), "helm install ", "helm install --plain-http ", "helm upgrade ", "helm upgrade --plain-http ",
		),
	}
	p.writeKustomization(t)
	return p
}

// programs returns a directory with kubectl, helm and crane.
func programs(t *testing.T, dir string) string {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), filepath.Join(bin, "kubectl")))
	for _, tool := range []string{"helm", "crane"} {
		out, err := exec.CommandContext(t.Context(), "go", "tool", "-n", tool).Output()
		require.NoError(t, err)
		require.NoError(t, os.Symlink(strings.TrimSpace(string(out)), filepath.Join(bin, tool)))
	}
	return bin
}

// argoCRDs returns the directory of Argo's minimal CRDs.
func argoCRDs(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), "manifests", "base", "crds", "minimal")
}

// writeKustomization writes the kustomization of the documentation, with this checkout
// instead of the tag of a release.
func (p *platform) writeKustomization(t *testing.T) {
	t.Helper()
	block := kustomizationBlock.FindStringSubmatch(string(read(t, checkout, "deploy/README.md")))
	require.NotNil(t, block)
	content := regexp.MustCompile(`github\.com/modelkiln/modelkiln/(\S+)\?ref=v\S+`).ReplaceAllString(block[1], "$1")
	root, err := filepath.Abs(checkout)
	require.NoError(t, err)
	up, err := filepath.Rel(p.dir, root)
	require.NoError(t, err)
	content = strings.ReplaceAll(content, "- deploy/default", "- "+up+"/deploy/default")
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "kustomization.yaml"), []byte(p.local.Replace(content)), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "config.yaml"), read(t, checkout, "deploy/manager/config.yaml"), 0o600))
}

// run runs a documented block of commands and returns its output.
func (p *platform) run(t *testing.T, block string) string {
	t.Helper()
	require.Contains(t, p.blocks, block)
	p.ran[block] = true
	out, err := p.shell(t, p.local.Replace(p.blocks[block]))
	require.NoError(t, err, "%s: %s", block, out)
	return out
}

func (p *platform) shell(t *testing.T, commands string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// available is a patch of the status of a Deployment.
var available = client.RawPatch(types.MergePatchType, []byte(`{"status":{"conditions":[{"type":"Available","status":"True"}]}}`))

// standInForControllers does what commands wait for, and no controller does here: it makes
// Deployments available, and ends namespaces.
func (p *platform) standInForControllers(t *testing.T) {
	t.Helper()
	for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &corev1.NamespaceList{}} {
		w, err := p.client.Watch(t.Context(), list)
		require.NoError(t, err)
		t.Cleanup(w.Stop)
		go func() {
			for event := range w.ResultChan() {
				switch object := event.Object.(type) {
				case *appsv1.Deployment:
					if len(object.Status.Conditions) == 0 {
						_ = p.client.Status().Patch(t.Context(), object, available)
					}
				case *corev1.Namespace:
					if object.DeletionTimestamp != nil {
						object.Spec.Finalizers = nil
						_ = p.client.SubResource("finalize").Update(t.Context(), object)
					}
				}
			}
		}()
	}
}

// uninstall runs a documented block that deletes the CRDs, after listing what they define
// as the operator does. The API server can take minutes to delete a CRD that was created
// a moment ago and that nobody has listed: "storage is (re)initializing".
func (p *platform) uninstall(t *testing.T, block string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := p.shell(t, "kubectl get modelversions,models --all-namespaces")
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	p.run(t, block)
}

// operatorImage returns the image of the installed operator.
func (p *platform) operatorImage(t *testing.T) string {
	t.Helper()
	var deployment appsv1.Deployment
	require.NoError(t, p.client.Get(t.Context(), client.ObjectKey{Namespace: "modelkiln-system", Name: "modelkiln-controller-manager"}, &deployment))
	return deployment.Spec.Template.Spec.Containers[0].Image
}

// installed returns what is left of Modelkiln in the cluster, as kind and name.
func (p *platform) installed(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, kind := range []metav1.TypeMeta{
		{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		{APIVersion: "apps/v1", Kind: "Deployment"},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"},
		{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
		{APIVersion: "argoproj.io/v1alpha1", Kind: "ClusterWorkflowTemplate"},
		{APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(kind.APIVersion)
		list.SetKind(kind.Kind + "List")
		require.NoError(t, p.client.List(t.Context(), list))
		for _, object := range list.Items {
			if strings.Contains(object.GetName(), "modelkiln") || strings.HasSuffix(object.GetName(), "model.kubedl.io") {
				found = append(found, kind.Kind+" "+object.GetName())
			}
		}
	}
	return found
}

// A platform team runs the commands of deploy/README.md in its order.
func assertDocumentedCommands(t *testing.T, dist, repository, version string) {
	p := newPlatform(t, dist, repository, version)
	p.standInForControllers(t)
	// Docker Hub cannot be reached from a test.
	images := regexp.MustCompile(`(?m)^docker\.io/.*\n`).ReplaceAll(read(t, p.dir, "dist/images.txt"), nil)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "dist", "images.txt"), images, 0o600))

	// API servers do not notice the lists of policies that are installed again.
	t.Run("another namespace", p.assertOverlay)
	t.Run("one file", func(t *testing.T) {
		p.run(t, "One file 0")
		assert.True(t, strings.HasPrefix(p.operatorImage(t), repository+"/modelkiln@sha256:"))
		p.run(t, "Bounds by namespace 0")
		p.run(t, "Reports of builds 0")
		p.run(t, "Upgrade 0")
		assert.Equal(t, repository+"/modelkiln:v"+chart.Version(version), p.operatorImage(t), "the kustomization was applied last")
		assert.Empty(t, strings.TrimSpace(p.run(t, "Uninstall 0")), "no ModelVersions use AWSEfs")
		p.run(t, "Uninstall 1")
		p.run(t, "Uninstall 2")
		p.uninstall(t, "Uninstall 3")
		assert.Empty(t, p.installed(t))
	})
	t.Run("kustomize", func(t *testing.T) {
		p.run(t, "Kustomize 0")
		p.uninstall(t, "Uninstall 4")
		assert.Empty(t, p.installed(t))
	})
	t.Run("downgrade with kustomize", func(t *testing.T) {
		block := downgradeBlock.FindStringSubmatch(string(read(t, checkout, "deploy/README.md")))
		require.NotNil(t, block)
		dir := filepath.Join(p.dir, "downgrade")
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(block[1]), 0o600))
		out, err := p.shell(t, "cp dist/install.yaml downgrade/ && kubectl kustomize downgrade")
		require.NoError(t, err, out)
		assert.NotContains(t, out, "kind: CustomResourceDefinition")
		assert.Contains(t, out, "kind: Deployment")
	})
	t.Run("mirror", func(t *testing.T) {
		p.run(t, "Without access to the internet 0")
		p.run(t, "Without access to the internet 2")
		mirror := p.local.Replace("mirror.example.com")
		assert.True(t, strings.HasPrefix(p.operatorImage(t), mirror+"/team/modelkiln@sha256:"), p.operatorImage(t))
		out, err := p.shell(t, "kubectl get -n modelkiln-system configmap -o yaml; kubectl get clusterworkflowtemplate -o yaml")
		require.NoError(t, err, out)
		assert.Contains(t, out, "\n      baseImage: "+mirror+"/library/busybox:")
		assert.Contains(t, out, "image: "+mirror+"/mirror/kaniko@sha256:")
		assert.NotContains(t, out, "image: "+repository)
		p.uninstall(t, "Uninstall 3")
		assert.Empty(t, p.installed(t))
	})
	t.Run("from kubectl to Helm", func(t *testing.T) {
		p.run(t, "One file 0")
		fresh := p.installed(t)
		install := strings.ReplaceAll(p.blocks["Helm 0"], "--create-namespace", "--create-namespace --take-ownership")
		out, err := p.shell(t, p.local.Replace(install))
		require.NoError(t, err, out)
		assert.ElementsMatch(t, fresh, p.installed(t))
		p.run(t, "Uninstall 5")
		p.uninstall(t, "Uninstall 6")
		assert.Empty(t, p.installed(t))
	})
	t.Run("Helm", func(t *testing.T) { p.assertHelm(t, repository) })
	t.Run("every command", func(t *testing.T) {
		run := slices.Sorted(maps.Keys(p.ran))
		run = append(run, slices.Collect(maps.Keys(testedElsewhere))...)
		assert.ElementsMatch(t, slices.Collect(maps.Keys(p.blocks)), run, "a command in deploy/README.md that no test runs, or one that it no longer has")
	})
}

// assertOverlay installs everything in another namespace, in which the policies find their
// lists: they admit a ModelVersion that the lists allow, and no other.
func (p *platform) assertOverlay(t *testing.T) {
	dir := filepath.Join(p.dir, "overlay")
	require.NoError(t, os.Mkdir(dir, 0o755))
	root, err := filepath.Abs(checkout)
	require.NoError(t, err)
	up, err := filepath.Rel(dir, root)
	require.NoError(t, err)
	content := strings.ReplaceAll("namespace: kiln\nresources: [UP/deploy/default, UP/deploy/policy, UP/deploy/policy/workflows]\n", "UP", up)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(content), 0o600))
	run := func(commands string) {
		t.Helper()
		out, err := p.shell(t, commands)
		require.NoError(t, err, out)
	}
	run("kubectl apply --server-side -k overlay && kubectl wait --for=condition=Established crd/modelversions.model.kubedl.io")
	run("kubectl create namespace team-a")
	const create = "kubectl create --dry-run=server -n team-a -f deploy/samples/claim.yaml"
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		out, err := p.shell(t, create)
		assert.NoError(c, err, out)
	}, time.Minute, 100*time.Millisecond, "the policies find their lists")
	run(`kubectl patch cm -n kiln modelkiln-bounds --type=merge -p '{"data":{"allowedStorage":"nfs"}}'`)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		out, err := p.shell(t, create)
		assert.Error(c, err)
		assert.Contains(c, out, "ValidatingAdmissionPolicy 'modelkiln-bounds'")
	}, time.Minute, 100*time.Millisecond, "the policies notice another list")
	run("kubectl get modelversions,models --all-namespaces && kubectl delete -k overlay --ignore-not-found")
	assert.Empty(t, p.installed(t))
}

// assertHelm installs, upgrades, downgrades, rolls back and uninstalls the chart.
func (p *platform) assertHelm(t *testing.T, repository string) {
	p.run(t, "Helm 0")
	assert.True(t, strings.HasPrefix(p.operatorImage(t), repository+"/modelkiln@sha256:"))
	fresh := p.installed(t)

	out, err := p.shell(t, "helm install second dist/modelkiln-*.tgz -n other --create-namespace")
	require.Error(t, err)
	assert.Contains(t, out, "Modelkiln is installed in this cluster already, by release modelkiln in namespace modelkiln-system")

	out, err = p.shell(t, "helm upgrade modelkiln dist/modelkiln-*.tgz -n modelkiln-system --set crds.enable=true")
	require.Error(t, err)
	assert.Contains(t, out, "additional properties 'enable' not allowed")

	_, err = p.shell(t, "helm upgrade modelkiln dist/modelkiln-*.tgz -n modelkiln-system --set replicas=3 --set image.operator=registry.example.com/old:v0")
	require.NoError(t, err)
	assert.Equal(t, "registry.example.com/old:v0", p.operatorImage(t))
	out, err = p.shell(t, "helm rollback modelkiln 1 -n modelkiln-system")
	require.NoError(t, err, out)
	assert.True(t, strings.HasPrefix(p.operatorImage(t), repository+"/modelkiln@sha256:"))
	p.run(t, "Upgrade 1")
	p.run(t, "Downgrade 0")
	assert.ElementsMatch(t, fresh, p.installed(t), "the CRDs are kept")
	out, err = p.shell(t, p.local.Replace(strings.TrimSpace(p.blocks["Upgrade 1"])+" --set crds.enabled=true"))
	require.NoError(t, err, out)
	assert.ElementsMatch(t, fresh, p.installed(t))

	p.run(t, "Uninstall 5")
	crds := []string{"CustomResourceDefinition models.model.kubedl.io", "CustomResourceDefinition modelversions.model.kubedl.io"}
	assert.ElementsMatch(t, crds, p.installed(t))
	out, err = p.shell(t, "helm install kiln dist/modelkiln-*.tgz -n other --create-namespace")
	require.Error(t, err, "the CRDs belong to the release before")
	assert.Contains(t, out, "invalid ownership metadata")
	out, err = p.shell(t, "helm install kiln dist/modelkiln-*.tgz -n other --create-namespace --take-ownership && helm uninstall kiln -n other")
	require.NoError(t, err, out)
	assert.ElementsMatch(t, crds, p.installed(t))
	p.uninstall(t, "Uninstall 6")
	assert.Empty(t, p.installed(t))

	p.run(t, "Without access to the internet 1")
	mirror := p.local.Replace("mirror.example.com")
	assert.True(t, strings.HasPrefix(p.operatorImage(t), mirror+"/team/modelkiln@sha256:"), p.operatorImage(t))
	out, err = p.shell(t, "helm upgrade modelkiln dist/modelkiln-*.tgz -n modelkiln-system --set crds.keep=false && helm uninstall modelkiln -n modelkiln-system")
	require.NoError(t, err, out)
	require.Eventually(t, func() bool { return len(p.installed(t)) == 0 }, time.Minute, 100*time.Millisecond, "crds.keep=false: Helm does not wait for the deletion of CRDs")
}
