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

func TestComponents_HighAvailability(t *testing.T) {
	var got struct {
		Spec struct {
			Replicas int
			Template struct {
				Spec struct {
					PriorityClassName         string
					TopologySpreadConstraints []map[string]any
					Containers                []struct {
						Image     string
						Lifecycle struct {
							PreStop struct{ Sleep struct{ Seconds int } }
						}
					}
				}
			}
		}
	}
	resources := install(t, "high-availability", "network-policy")
	object(t, resources, "Deployment", "modelkiln-controller-manager", &got)
	assert.Equal(t, 2, got.Spec.Replicas)
	assert.Len(t, got.Spec.Template.Spec.TopologySpreadConstraints, 1)
	assert.Equal(t, []string{"/" + got.Spec.Template.Spec.PriorityClassName}, named(resources, "PriorityClass"))
	require.Len(t, got.Spec.Template.Spec.Containers, 1, "the patch names the operator's container")
	assert.Equal(t, 5, got.Spec.Template.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds)
	assert.Len(t, named(resources, "PodDisruptionBudget"), 1)
	assert.Len(t, named(resources, "NetworkPolicy"), 2)
}
