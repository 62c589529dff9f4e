package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

// install renders deploy/default with components, and with deploy/namespaced for the
// namespace team-a, as a user's kustomization does.
func install(t *testing.T, components ...string) resmap.ResMap {
	t.Helper()
	here, err := checkout.Find(".")
	require.NoError(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	deploy, err := filepath.Rel(dir, filepath.Join(here.Root, "deploy"))
	require.NoError(t, err)
	content := fmt.Sprintf("resources: [%s/default, team-a]\ncomponents:\n", deploy)
	for _, component := range components {
		content += fmt.Sprintf("  - %s/components/%s\n", deploy, component)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "team-a"), 0o755))
	for name, content := range map[string]string{
		"kustomization.yaml":        content,
		"team-a/kustomization.yaml": fmt.Sprintf("namespace: team-a\nresources: [../%s/namespaced]\n", deploy),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	return resources
}

// named returns the objects of a kind, as namespace/name.
func named(resources resmap.ResMap, kind string) []string {
	var names []string
	for _, resource := range resources.Resources() {
		if resource.GetKind() == kind {
			names = append(names, resource.GetNamespace()+"/"+resource.GetName())
		}
	}
	slices.Sort(names)
	return names
}

func TestComponents_Bindings(t *testing.T) {
	inNamespaces := []string{
		"modelkiln-system/modelkiln-leader-election", "modelkiln-system/modelkiln-manager",
		"team-a/modelkiln-namespaced", "team-a/modelkiln-serving", "team-a/modelkiln-versions-from-workloads",
	}
	for name, tt := range map[string]struct{ components, want []string }{
		"default":    {nil, []string{"/modelkiln-manager", "/modelkiln-namespaced", "/modelkiln-serving", "/modelkiln-template-reader", "/modelkiln-versions-from-workloads"}},
		"EFS":        {[]string{"efs"}, []string{"/modelkiln-efs", "/modelkiln-manager", "/modelkiln-namespaced", "/modelkiln-serving", "/modelkiln-template-reader", "/modelkiln-versions-from-workloads"}},
		"namespaced": {[]string{"namespaced"}, []string{"/modelkiln-manager", "/modelkiln-template-reader"}},
	} {
		t.Run(name, func(t *testing.T) {
			resources := install(t, tt.components...)
			assert.Equal(t, tt.want, named(resources, "ClusterRoleBinding"))
			assert.Equal(t, inNamespaces, named(resources, "RoleBinding"))
		})
	}
}

func TestComponents_NetworkPolicy(t *testing.T) {
	assert.Len(t, named(install(t, "network-policy"), "NetworkPolicy"), 2)
}

// test/docs checks their content.
func TestDefault_HighAvailability(t *testing.T) {
	resources := install(t)
	assert.Equal(t, []string{"/modelkiln"}, named(resources, "PriorityClass"))
	assert.Equal(t, []string{"modelkiln-system/modelkiln-controller-manager"}, named(resources, "PodDisruptionBudget"))
}

// Prometheus finds the port that the operator's metrics are served on, and may read them.
func TestComponents_Monitoring(t *testing.T) {
	resources := install(t, "../monitoring")
	var monitor struct {
		Spec struct {
			Selector  struct{ MatchLabels map[string]string }
			Endpoints []struct{ Port, Scheme string }
		}
	}
	object(t, resources, "ServiceMonitor", "modelkiln", &monitor)
	var service struct {
		Metadata struct{ Labels map[string]string }
		Spec     struct{ Ports []struct{ Name string } }
	}
	object(t, resources, "Service", "modelkiln-metrics", &service)
	assert.Subset(t, service.Metadata.Labels, monitor.Spec.Selector.MatchLabels)
	require.Len(t, monitor.Spec.Endpoints, 1)
	require.Len(t, service.Spec.Ports, 1)
	assert.Equal(t, service.Spec.Ports[0].Name, monitor.Spec.Endpoints[0].Port)
	assert.Equal(t, "https", monitor.Spec.Endpoints[0].Scheme)
	var binding struct{ RoleRef struct{ Name string } }
	object(t, resources, "ClusterRoleBinding", "modelkiln-metrics-prometheus", &binding)
	assert.Contains(t, named(resources, "ClusterRole"), "/"+binding.RoleRef.Name)
	assert.Equal(t, []string{"modelkiln-system/modelkiln"}, named(resources, "PrometheusRule"))
	assert.Contains(t, named(resources, "ConfigMap"), "modelkiln-system/modelkiln-dashboard")
}

// namePrefix renames objects, and what refers to them in ModelVersions and in pods.
func TestNameReferences(t *testing.T) {
	here, err := checkout.Find(".")
	require.NoError(t, err)
	dir := t.TempDir()
	references, err := os.ReadFile(filepath.Join(here.Root, "deploy", "kustomize", "references.yaml"))
	require.NoError(t, err)
	for name, content := range map[string]string{
		"references.yaml":    string(references),
		"kustomization.yaml": "namePrefix: dev-\nresources: [objects.yaml]\nconfigurations: [references.yaml]\n",
		"objects.yaml": `
{apiVersion: model.kubedl.io/v1alpha1, kind: Model, metadata: {name: resnet}}
---
apiVersion: model.kubedl.io/v1alpha1
kind: ModelVersion
metadata: {name: resnet-1}
spec:
  modelName: resnet
  storage: {persistentVolumeClaim: {claimName: models}}
  build: {pushSecretName: robot}
  trainedBy: {apiVersion: batch/v1, kind: Job, name: train}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: models}}
---
{apiVersion: v1, kind: Secret, metadata: {name: robot}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec: {template: {metadata: {labels: {model.kubedl.io/train-version: resnet-1}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec: {template: {metadata: {labels: {model.kubedl.io/serve-model: resnet}}}}
`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)

	var version struct {
		Spec struct {
			ModelName string
			Storage   struct{ PersistentVolumeClaim struct{ ClaimName string } }
			Build     struct{ PushSecretName string }
			TrainedBy struct{ Name string }
		}
	}
	object(t, resources, "ModelVersion", "dev-resnet-1", &version)
	assert.Equal(t, "dev-resnet", version.Spec.ModelName)
	assert.Equal(t, "dev-models", version.Spec.Storage.PersistentVolumeClaim.ClaimName)
	assert.Equal(t, "dev-robot", version.Spec.Build.PushSecretName)
	assert.Equal(t, "dev-train", version.Spec.TrainedBy.Name)
	for kind, want := range map[string]map[string]string{
		"Job":        {"model.kubedl.io/train-version": "dev-resnet-1"},
		"Deployment": {"model.kubedl.io/serve-model": "dev-resnet"},
	} {
		var workload struct {
			Spec struct {
				Template struct {
					Metadata struct{ Labels map[string]string }
				}
			}
		}
		object(t, resources, kind, map[string]string{"Job": "dev-train", "Deployment": "dev-server"}[kind], &workload)
		assert.Equal(t, want, workload.Spec.Template.Metadata.Labels)
	}
}
