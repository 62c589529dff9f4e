//go:build e2e && chart

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// chart is the directory of the chart.
const chart = "../../deploy/chart"

// TestChart replaces the operator of the cluster, so it runs alone: make e2e-chart.
func TestChart(t *testing.T) {
	ns := live.namespace(t)
	values, program := chartValues(t), helmProgram(t)
	helm := func(args ...string) {
		t.Helper()
		run(t, program, append(args, "-n", operatorNamespace, "--timeout=5m")...)
	}
	refused := func(message string, args ...string) {
		t.Helper()
		_, err := try(t.Context(), program, append(args, "--timeout=2m")...)
		require.ErrorContains(t, err, message)
	}
	built := func(name string) {
		t.Helper()
		live.built(t, makeVersion(name, ns, model(t)).New())
	}
	assertReplicas := func(want string) {
		t.Helper()
		assert.Equal(t, want, run(t, "kubectl", "get", "deployment", operator, "-n", operatorNamespace, "-o", "jsonpath={.spec.replicas}"))
	}

	built("kustomize")
	helm("install", "modelkiln", chart, "-f", values, "--take-ownership", "--wait")
	built("installed")
	helm("test", "modelkiln")
	assert.Empty(t, run(t, "kubectl", "get", "pods,serviceaccounts,roles,rolebindings", "-n", operatorNamespace, "-l", "app.kubernetes.io/component=test", "-o", "name"))
	refused("additional properties 'enable' not allowed", "upgrade", "modelkiln", chart, "-n", operatorNamespace, "--reset-then-reuse-values", "--set", "crds.enable=false")
	refused("Modelkiln is installed in this cluster already, by release modelkiln in namespace modelkiln-system", "install", "second", chart, "-n", ns)

	helm("upgrade", "modelkiln", chart, "--reset-then-reuse-values", "--set", "replicas=1", "--wait")
	assertReplicas("1")
	built("upgraded")
	helm("upgrade", "modelkiln", chart, "--reset-then-reuse-values", "--set", "replicas=0", "--wait")
	require.NoError(t, live.awaitTerminated(t.Context(), operatorNamespace))
	refused("The API server must reach port 9443 of the operator", "test", "modelkiln", "-n", operatorNamespace)
	helm("rollback", "modelkiln", "1", "--wait")
	assertReplicas("2")
	built("rolled-back")
	helm("test", "modelkiln")

	helm("uninstall", "modelkiln", "--wait")
	assert.Equal(t, "True", run(t, "kubectl", "get", "mv", "installed", "-n", ns, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`), "the CRDs are kept")
	helm("install", "modelkiln", chart, "-f", values, "--wait")
	built("installed-again")
	helm("upgrade", "modelkiln", chart, "--reset-then-reuse-values", "--set", "crds.keep=false", "--wait")
	helm("uninstall", "modelkiln", "--wait")
	awaitNoCRDs(t)

	// The operator of the release before is not here: what it would have to build waits.
	helm("install", "modelkiln", previousChart(t, program), "-f", values, "--set", "crds.keep=false", "--set", "replicas=0", "--wait")
	require.Empty(t, newestField(t), "the CRDs are those of the release before")
	waiting := makeVersion("waiting", ns, model(t)).New()
	live.create(t, waiting)
	helm("upgrade", "modelkiln", chart, "--reset-then-reuse-values", "--set", "replicas=2", "--wait")
	assert.NotEmpty(t, newestField(t), "Helm upgrades the CRDs")
	live.ready(t, waiting)
	helm("test", "modelkiln")
	helm("uninstall", "modelkiln", "--wait")
	awaitNoCRDs(t)
}

// awaitNoCRDs waits until the CRDs, and all that they define, are deleted.
func awaitNoCRDs(t *testing.T) {
	t.Helper()
	run(t, "kubectl", "wait", "--for=delete", "crd/modelversions.model.kubedl.io", "crd/models.model.kubedl.io", "--timeout=2m")
}

// newestField returns the type of a field of ModelVersions that the CRDs of the release
// before do not have.
func newestField(t *testing.T) string {
	t.Helper()
	return run(t, "kubectl", "get", "crd", "modelversions.model.kubedl.io", "-o",
		"jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.storage.properties.image.type}")
}

// previousChart packages the chart with the CRDs of the release before, which had no chart,
// and with an earlier version.
func previousChart(t *testing.T, helm string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "modelkiln")
	require.NoError(t, os.CopyFS(source, os.DirFS(chart)))
	for _, name := range []string{"models", "modelversions"} {
		crd, err := os.ReadFile("../integration/testdata/previous/crd/model.kubedl.io_" + name + ".yaml")
		require.NoError(t, err)
		file := filepath.Join(source, "files", "crds", "customresourcedefinition-"+name+".model.kubedl.io.yaml")
		require.FileExists(t, file)
		require.NoError(t, os.WriteFile(file, crd, 0o600))
	}
	run(t, helm, "package", source, "--version", "0.0.1", "--app-version", "v0.0.1", "--destination", dir)
	return filepath.Join(dir, "modelkiln-0.0.1.tgz")
}

// helmProgram compiles helm, in the version that test/release pins.
func helmProgram(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "-C", "../release", "tool", "-n", "helm").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// chartValues writes the images and the configuration of the installation as values of
// the chart.
func chartValues(t *testing.T) string {
	t.Helper()
	var deployment appsv1.Deployment
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: operator}, &deployment))
	images := map[string]string{"operator": deployment.Spec.Template.Spec.Containers[0].Image}
	for name, container := range map[string]string{"step": "mount-check", "kaniko": "build"} {
		images[name] = run(t, "kubectl", "get", "clusterworkflowtemplate", "modelkiln-build", "-o",
			`jsonpath={.spec.templates[*].containerSet.containers[?(@.name=="`+container+`")].image}`)
	}
	// Those of earlier rollouts stay.
	name := deployment.Spec.Template.Spec.Volumes[0].ConfigMap.Name
	var configMap corev1.ConfigMap
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: name}, &configMap))
	var config map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(configMap.Data["config.yaml"]), &config))
	require.NotEmpty(t, config)
	content, err := yaml.Marshal(map[string]any{"image": images, "config": config})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}
