package chart

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// everyOption has the chart install all that it can.
const everyOption = `
networkPolicy: {enabled: true}
policy: {enabled: true, workflows: {enabled: true}}
monitoring: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}
config: {allowedEFS: [fs-12345678]}
`

// The chart with its default values installs what kubectl apply -k deploy/default does, in
// whatever namespace.
func TestChart_EqualsKustomization(t *testing.T) {
	all := kustomization{
		namespace:  system,
		resources:  []string{"deploy/default", "deploy/policy", "deploy/policy/workflows"},
		components: []string{"deploy/components/efs", "deploy/components/network-policy", "deploy/monitoring"},
		config:     "allowedEFS: [fs-12345678]",
	}
	elsewhere := all
	elsewhere.namespace = "kiln"
	tests := map[string]struct {
		values string
		kustomization
	}{
		"default":                       {"", kustomization{namespace: system, resources: []string{"deploy/default"}}},
		"every option":                  {everyOption, all},
		"every option, other namespace": {everyOption, elsewhere},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := tt.objects(t)
			r, err := cluster{namespace: tt.namespace}.render(t, tt.values)
			require.NoError(t, err)
			got := r.objects
			for _, object := range got {
				if object["kind"] == "CustomResourceDefinition" {
					annotations := field(t, object, "metadata", "annotations").(map[string]any)
					assert.Equal(t, "keep", annotations["helm.sh/resource-policy"])
					delete(annotations, "helm.sh/resource-policy")
				}
			}
			annotations := field(t, got[tt.id(deploymentID)], "spec", "template", "metadata", "annotations").(map[string]any)
			assert.Len(t, annotations["checksum/config"], 64)
			delete(annotations, "checksum/config")
			got[tt.id(configID)] = parsedConfig(t, got[tt.id(configID)])

			assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
			for id := range want {
				wanted := want[id]
				if wanted["kind"] == "PrometheusRule" {
					wanted = tt.moved(t, wanted)
				}
				assert.Equal(t, wanted, got[id], id)
			}
		})
	}
}

// kustomization is what a user of kustomize writes instead of values.
type kustomization struct {
	namespace             string
	resources, components []string
	// config is added to the operator's configuration.
	config string
}

// unknownKinds are kinds of which an overlay does not know that they are not in a
// namespace. The API server ignores the namespace that they get.
var unknownKinds = []string{"ClusterWorkflowTemplate", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}

// id returns the identity of an object of modelkiln-system in the namespace.
func (k kustomization) id(of string) string { return strings.Replace(of, system, k.namespace, 1) }

// moved returns an object whose texts name the namespace: kustomize does not change the
// commands of alerts.
func (k kustomization) moved(t *testing.T, object map[string]any) map[string]any {
	t.Helper()
	raw, err := yaml.Marshal(object)
	require.NoError(t, err)
	var moved map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(string(raw), system, k.namespace)), &moved))
	return moved
}

// objects returns what the chart has to install: all objects but the namespace, and the
// configuration under its name without a hash.
func (k kustomization) objects(t *testing.T) objects {
	t.Helper()
	overlay := Kustomization{Resources: k.resources, Components: k.components}
	if k.namespace != system {
		overlay.Namespace = k.namespace
	}
	all := objects{}
	for id, object := range kustomized(t, overlay) {
		if kind, _ := object["kind"].(string); slices.Contains(unknownKinds, kind) {
			delete(field(t, object, "metadata").(map[string]any), "namespace")
			id = identity(object)
		}
		all[id] = object
	}
	delete(all, "Namespace /"+k.namespace)
	for id, object := range all {
		hashed, _ := field(t, object, "metadata", "name").(string)
		if !strings.HasPrefix(id, k.id(configID)+"-") {
			continue
		}
		delete(all, id)
		field(t, object, "metadata").(map[string]any)["name"] = "modelkiln-config"
		all[k.id(configID)] = parsedConfig(t, object)
		var added map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(k.config), &added))
		maps.Copy(all[k.id(configID)]["data"].(map[string]any)["config.yaml"].(map[string]any), added)
		volume := field(t, all[k.id(deploymentID)], "spec", "template", "spec", "volumes", 0, "configMap").(map[string]any)
		require.Equal(t, hashed, volume["name"])
		volume["name"] = "modelkiln-config"
	}
	require.Contains(t, all, k.id(configID))
	return all
}

// parsedConfig replaces the text of the configuration by its content: comments differ.
func parsedConfig(t *testing.T, object map[string]any) map[string]any {
	t.Helper()
	data := field(t, object, "data").(map[string]any)
	var content map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(data["config.yaml"].(string)), &content))
	data["config.yaml"] = content
	return object
}

// An overlay's namespace reaches everything, including the references that kustomize does
// not know: the policies find their lists.
func TestKustomization_FollowsNamespace(t *testing.T) {
	got := kustomized(t, Kustomization{
		Namespace:  "kiln",
		Resources:  []string{"deploy/default", "deploy/policy", "deploy/policy/workflows"},
		Components: []string{"deploy/components/efs", "deploy/components/network-policy"},
	})
	content, err := yaml.Marshal(got)
	require.NoError(t, err)
	assert.NotContains(t, string(content), system)
	bindings := 0
	for id, object := range got {
		if strings.HasPrefix(id, "ValidatingAdmissionPolicyBinding") && field(t, object, "spec", "paramRef") != nil {
			bindings++
			assert.Equal(t, "kiln", field(t, object, "spec", "paramRef", "namespace"), id)
		}
	}
	assert.Equal(t, 5, bindings)
}

// The patch in deploy/README.md for an operator in another namespace.
func TestNamespaced_PatchOfSubjects(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/README.md"))
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)# team-a/kustomization.yaml\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, block)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	up, err := filepath.Rel(dir, checkout)
	require.NoError(t, err)
	content := strings.ReplaceAll(string(block[1]), "github.com/modelkiln/modelkiln/", up+"/")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(content), 0o600))
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	manifests, err := rendered.AsYaml()
	require.NoError(t, err)
	bindings := objects{}
	bindings.add(t, string(manifests))
	require.Len(t, bindings, 3)
	for id, binding := range bindings {
		assert.Equal(t, "team-a", field(t, binding, "metadata", "namespace"), id)
		assert.Equal(t, "kiln", field(t, binding, "subjects", 0, "namespace"), id)
	}
}
