package chart

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	helm "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	"sigs.k8s.io/yaml"
)

// root is the root of the checkout, relative to this package.
const root = "../../.."

// system is the namespace that the manifests in deploy/ name.
const system = "modelkiln-system"

// objects are manifests by kind, namespace and name.
type objects map[string]map[string]any

// release is what Helm makes of the chart.
type release struct {
	objects objects
	// tests are the objects of helm test.
	tests objects
	notes string
}

// cluster is where a test installs the chart.
type cluster struct {
	namespace string
	// withoutArgo means that Argo's CRDs are missing.
	withoutArgo bool
	// lookup returns objects of the cluster; there are none if it is nil.
	lookup engine.ClientProvider
}

// loadChart loads the chart of the checkout.
func loadChart(t *testing.T) *helm.Chart {
	t.Helper()
	c, err := loader.LoadDir(filepath.Join(root, Dir))
	require.NoError(t, err)
	return c
}

// render renders the chart with values as Helm does for an installation.
func (c cluster) render(t *testing.T, values string) (release, error) {
	t.Helper()
	var parsed map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(values), &parsed))
	capabilities := chartutil.DefaultCapabilities.Copy()
	if !c.withoutArgo {
		capabilities.APIVersions = append(capabilities.APIVersions, "argoproj.io/v1alpha1/ClusterWorkflowTemplate")
	}
	loaded := loadChart(t)
	options := chartutil.ReleaseOptions{Name: "modelkiln", Namespace: c.namespace, IsInstall: true, Revision: 1}
	all, err := chartutil.ToRenderValues(loaded, parsed, options, capabilities)
	if err != nil {
		return release{}, err
	}
	var rendered map[string]string
	if c.lookup == nil {
		rendered, err = engine.Render(loaded, all)
	} else {
		rendered, err = engine.RenderWithClientProvider(loaded, all, c.lookup)
	}
	if err != nil {
		return release{}, err
	}
	r := release{objects: objects{}, tests: objects{}, notes: rendered["modelkiln/templates/NOTES.txt"]}
	for path, content := range rendered {
		switch {
		case strings.HasPrefix(path, "modelkiln/templates/tests/"):
			r.tests.add(t, content)
		case strings.HasSuffix(path, ".yaml"):
			r.objects.add(t, content)
		}
	}
	return r, nil
}

// mustRender renders the chart with values that are valid.
func mustRender(t *testing.T, values string) release {
	t.Helper()
	r, err := cluster{namespace: system}.render(t, values)
	require.NoError(t, err)
	return r
}

// add adds the objects of a file.
func (o objects) add(t *testing.T, content string) {
	t.Helper()
	for _, manifest := range releaseutil.SplitManifests(content) {
		var object map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(manifest), &object), manifest)
		if object != nil {
			id := identity(object)
			require.NotContains(t, o, id)
			o[id] = object
		}
	}
}

func identity(object map[string]any) string {
	metadata := object["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	return fmt.Sprintf("%s %s/%s", object["kind"], namespace, metadata["name"])
}

// kustomized returns the objects of a kustomization.
func kustomized(t *testing.T, k Kustomization) objects {
	t.Helper()
	rendered, err := Render(root, k)
	require.NoError(t, err)
	content, err := rendered.AsYaml()
	require.NoError(t, err)
	all := objects{}
	all.add(t, string(content))
	return all
}

// field returns a field of an object by its path, in which digits are positions in lists.
func field(t *testing.T, object any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case int:
			list, isList := object.([]any)
			require.True(t, isList && step < len(list), "%v", path)
			object = list[step]
		case string:
			fields, isMap := object.(map[string]any)
			require.True(t, isMap, "%v", path)
			object = fields[step]
		}
	}
	return object
}
