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
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestChart replaces the operator of the cluster, so it runs alone: make e2e-chart.
func TestChart(t *testing.T) {
	ns := live.namespace(t)
	values := chartValues(t)
	helm := func(args ...string) {
		t.Helper()
		run(t, helmProgram(t), append(args, "-n", operatorNamespace, "--wait", "--timeout=5m")...)
	}
	built := func(name string) {
		t.Helper()
		live.built(t, makeVersion(name, ns, model(t)).New())
	}
	const chart = "../../deploy/chart"

	built("kustomize")
	helm("install", "modelkiln", chart, "-f", values, "--take-ownership")
	built("installed")
	helm("upgrade", "modelkiln", chart, "--reset-then-reuse-values", "--set", "replicas=1")
	assert.Equal(t, "1", run(t, "kubectl", "get", "deployment", operator, "-n", operatorNamespace, "-o", "jsonpath={.spec.replicas}"))
	built("upgraded")
	helm("rollback", "modelkiln", "1")
	assert.Equal(t, "2", run(t, "kubectl", "get", "deployment", operator, "-n", operatorNamespace, "-o", "jsonpath={.spec.replicas}"))
	built("rolled-back")

	helm("uninstall", "modelkiln")
	assert.Equal(t, "True", run(t, "kubectl", "get", "mv", "installed", "-n", ns, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`), "the CRDs are kept")
	helm("install", "modelkiln", chart, "-f", values)
	built("installed-again")

	helm("upgrade", "modelkiln", chart, "--reset-then-reuse-values", "--set", "crds.keep=false")
	helm("uninstall", "modelkiln")
	run(t, "kubectl", "wait", "--for=delete", "crd/modelversions.model.kubedl.io", "crd/models.model.kubedl.io", "--timeout=2m")
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
	images := map[string]string{
		"operator": run(t, "kubectl", "get", "deployment", operator, "-n", operatorNamespace, "-o", "jsonpath={.spec.template.spec.containers[0].image}"),
	}
	for name, container := range map[string]string{"step": "mount-check", "kaniko": "build"} {
		images[name] = run(t, "kubectl", "get", "clusterworkflowtemplate", "modelkiln-build", "-o",
			`jsonpath={.spec.templates[*].containerSet.containers[?(@.name=="`+container+`")].image}`)
	}
	var maps corev1.ConfigMapList
	require.NoError(t, live.List(t.Context(), &maps, client.InNamespace(operatorNamespace)))
	var config map[string]any
	for _, each := range maps.Items {
		if content, ok := each.Data["config.yaml"]; ok {
			require.NoError(t, yaml.Unmarshal([]byte(content), &config))
		}
	}
	require.NotEmpty(t, config)
	content, err := yaml.Marshal(map[string]any{"image": images, "config": config})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}
