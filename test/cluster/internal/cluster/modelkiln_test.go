package cluster

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

// build renders Modelkiln's manifests with the overlay, as `kubectl apply -k` does.
func (o overlay) build(t *testing.T) resmap.ResMap {
	t.Helper()
	here, err := checkout.Find(".")
	require.NoError(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	o.Base, err = filepath.Rel(dir, here.Source("manifests", "modelkiln"))
	require.NoError(t, err)
	require.NoError(t, o.write(dir))
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	return resources
}

// object reads the one object of a kind and name. kustomize appends a hash of the content to the name of a ConfigMap.
func object(t *testing.T, resources resmap.ResMap, kind, name string, into any) {
	t.Helper()
	found := 0
	for _, resource := range resources.Resources() {
		named := resource.GetName() == name || kind == "ConfigMap" && strings.HasPrefix(resource.GetName(), name+"-")
		if resource.GetKind() == kind && named {
			found++
			content, err := resource.AsYAML()
			require.NoError(t, err)
			require.NoError(t, yaml.Unmarshal(content, into))
		}
	}
	require.Equal(t, 1, found, "%s %s", kind, name)
}

func thisCluster() overlay {
	return overlay{
		Images: []overlayImage{
			{Name: "ghcr.io/modelkiln/modelkiln", Tag: "content-0123456789ab"},
			{Name: "ghcr.io/modelkiln/modelkiln-step", Tag: "content-ba9876543210"},
		},
		Registry:  "10.213.0.2:5000",
		BaseImage: "10.213.0.2:5000/library/busybox:1.37",
		Machine:   "10.213.0.1",
	}
}

type podContainer struct {
	Image   string
	Command []string
}

type podTemplate struct {
	Spec struct {
		Containers []podContainer
		Volumes    []struct{ ConfigMap struct{ Name string } }
	}
}

func TestOverlay_OperatorImage(t *testing.T) {
	var got struct {
		Spec struct{ Template podTemplate }
	}
	object(t, thisCluster().build(t), "Deployment", "modelkiln-controller-manager", &got)
	want := []podContainer{{Image: "ghcr.io/modelkiln/modelkiln:content-0123456789ab", Command: []string{"/ko-app/modelkiln"}}}
	assert.Equal(t, want, got.Spec.Template.Spec.Containers)
}

func TestOverlay_OperatorConfig(t *testing.T) {
	var configMap struct{ Data map[string]string }
	object(t, thisCluster().build(t), "ConfigMap", "modelkiln-config", &configMap)
	var got map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(configMap.Data["config.yaml"]), &got))
	assert.Equal(t, map[string]any{
		"defaultRegistry":    "10.213.0.2:5000",
		"registries":         []any{map[string]any{"host": "10.213.0.2:5000", "plainHTTP": true}},
		"allowedNFS":         []any{"nas.example.com"},
		"allowedEFS":         []any{"fs-12345678"},
		"allowedS3":          []any{"http://10.213.0.1:7480"},
		"allowedHuggingFace": []any{"http://10.213.0.1:7481", "http://10.213.0.1:7482"},
		"baseImage":          "10.213.0.2:5000/library/busybox:1.37",
	}, got)
}

func TestOverlay_ChangedRegistryRollsDeployment(t *testing.T) {
	configMapOf := func(o overlay) string {
		var got struct {
			Spec struct{ Template podTemplate }
		}
		object(t, o.build(t), "Deployment", "modelkiln-controller-manager", &got)
		for _, volume := range got.Spec.Template.Spec.Volumes {
			if volume.ConfigMap.Name != "" {
				return volume.ConfigMap.Name
			}
		}
		return ""
	}
	moved := thisCluster()
	moved.Registry = "10.213.1.2:5000"
	original := configMapOf(thisCluster())
	assert.NotEmpty(t, original)
	assert.NotEqual(t, original, configMapOf(moved))
}

func TestOverlay_TemplateWithoutOperator(t *testing.T) {
	var got struct {
		Spec struct {
			Arguments struct {
				Parameters []struct{ Name, Value string }
			}
			Templates []struct {
				ContainerSet struct{ Containers []podContainer }
			}
		}
	}
	object(t, thisCluster().build(t), "ClusterWorkflowTemplate", "modelkiln-build", &got)

	values := map[string]string{}
	for _, parameter := range got.Spec.Arguments.Parameters {
		values[parameter.Name] = parameter.Value
	}
	assert.Equal(t, "10.213.0.2:5000/library/busybox:1.37", values["base-image"])
	assert.Equal(t, "10.213.0.2:5000", values["plain-http-registries"])

	here, err := checkout.Find(".")
	require.NoError(t, err)
	programs := map[string][]string{}
	for _, template := range got.Spec.Templates {
		for _, container := range template.ContainerSet.Containers {
			programs[container.Image] = container.Command
		}
	}
	want := map[string][]string{
		"ghcr.io/modelkiln/modelkiln-step:content-ba9876543210":     {"/ko-app/modelkiln-step"},
		"modelkiln.test/kaniko:" + pinnedVersion(t, here, "kaniko"): {"/kiln/modelkiln-step"},
	}
	assert.Equal(t, want, programs, "the node has no other images, and cannot pull any")
}
