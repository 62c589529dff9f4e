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
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	o.Base, err = filepath.Rel(folder, here.Source("manifests", "modelkiln"))
	require.NoError(t, err)
	require.NoError(t, o.write(folder))
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	return resources
}

// object gives the one object of a kind and name. The name of a ConfigMap goes on with a digest of what is in it.
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
		Repository: "ghcr.io/modelkiln/modelkiln",
		Tag:        "content-0123456789ab",
		Registry:   "10.213.0.2:5000",
		BaseImage:  "10.213.0.2:5000/library/busybox:1.37",
	}
}

type podTemplate struct {
	Spec struct {
		Containers []struct{ Image string }
		Volumes    []struct{ ConfigMap struct{ Name string } }
	}
}

func TestTheOperatorRunsWhatWasCompiled(t *testing.T) {
	var got struct {
		Spec struct{ Template podTemplate }
	}
	object(t, thisCluster().build(t), "Deployment", "modelkiln-controller-manager", &got)
	require.Len(t, got.Spec.Template.Spec.Containers, 1)
	assert.Equal(t, "ghcr.io/modelkiln/modelkiln:content-0123456789ab", got.Spec.Template.Spec.Containers[0].Image)
}

func TestTheOperatorIsToldOfTheRegistry(t *testing.T) {
	var configMap struct{ Data map[string]string }
	object(t, thisCluster().build(t), "ConfigMap", "modelkiln-config", &configMap)
	var got map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(configMap.Data["config.yaml"]), &got))
	assert.Equal(t, map[string]any{
		"defaultRegistry": "10.213.0.2:5000",
		"registries":      []any{map[string]any{"host": "10.213.0.2:5000", "plainHTTP": true}},
		"allowedNFS":      []any{"nas.example.com"},
		"allowedEFS":      []any{"fs-12345678"},
		"baseImage":       "10.213.0.2:5000/library/busybox:1.37",
	}, got)
}

func TestAnotherRegistryRollsTheDeployment(t *testing.T) {
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
	assert.NotEmpty(t, configMapOf(thisCluster()))
	assert.NotEqual(t, configMapOf(thisCluster()), configMapOf(moved))
}

func TestTheTemplateWorksHereWithArgoAlone(t *testing.T) {
	var got struct {
		Spec struct {
			Arguments struct {
				Parameters []struct{ Name, Value string }
			}
			Templates []struct {
				ContainerSet struct{ Containers []struct{ Image string } }
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
	images := map[string]bool{}
	for _, template := range got.Spec.Templates {
		for _, container := range template.ContainerSet.Containers {
			images[container.Image] = true
		}
	}
	want := map[string]bool{
		"ghcr.io/modelkiln/modelkiln:content-0123456789ab":          true,
		"modelkiln.test/kaniko:" + pinnedVersion(t, here, "kaniko"): true,
	}
	assert.Equal(t, want, images, "the node has no others, and cannot pull any")
}
