package chart

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
)

func TestValues_Typos(t *testing.T) {
	tests := map[string]struct{ values, want string }{
		"a key":                     {`crd: {enabled: false}`, "'crd'"},
		"a nested key":              {`crds: {enable: false}`, "'enable'"},
		"a field of a pod":          {`pod: {nodeselector: {}}`, "'nodeselector'"},
		"a field of the config":     {`config: {allowedHostPath: [/models]}`, "'allowedHostPath'"},
		"a nested field":            {`config: {registries: [{hots: registry.example.com}]}`, "'hots'"},
		"a field of build pods":     {`config: {buildPods: {environment: {}}}`, "'environment'"},
		"a list of the policy":      {`policy: {lists: {team-a.allowedStorages: [nfs]}}`, "'team-a.allowedStorages'"},
		"a text for a number":       {`replicas: "2"`, "replicas"},
		"a text for a boolean":      {`webhook: {enabled: "false"}`, "enabled"},
		"a number for a limit":      {`config: {deadlineSeconds: 1h}`, "deadlineSeconds"},
		"memory without a unit":     {`pod: {resources: {limits: {memory: "536870912"}}}`, "memory"},
		"an image without a tag":    {`image: {operator: registry.example.com/modelkiln}`, "operator"},
		"a registry with a scheme":  {`global: {imageRegistry: "https://mirror.example.com"}`, "imageRegistry"},
		"a registry with a path":    {`global: {imageRegistry: mirror.example.com/ghcr}`, "imageRegistry"},
		"no account of Argo":        {`policy: {workflows: {enabled: true, controllers: []}}`, "controllers"},
		"a label for monitoring":    {`monitoring: {labels: {release: 1}}`, "release"},
		"an account without a name": {`monitoring: {serviceMonitor: {serviceAccount: {name: ""}}}`, "serviceAccount"},
		"an image without a string": {`image: {step: {tag: v1}}`, "step"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := cluster{namespace: system}.render(t, tt.values)
			require.ErrorContains(t, err, "values don't meet the specifications of the schema")
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// existing stands for the API server of a cluster with one object.
type existing struct{ role *unstructured.Unstructured }

func (e existing) GetClientFor(string, string) (dynamic.NamespaceableResourceInterface, bool, error) {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme(), e.role)
	return client.Resource(schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}), false, nil
}

func TestSecondRelease(t *testing.T) {
	tests := map[string]struct {
		annotations map[string]any
		want        string
	}{
		"this release": {map[string]any{"meta.helm.sh/release-name": "modelkiln", "meta.helm.sh/release-namespace": system}, ""},
		"another name": {
			map[string]any{"meta.helm.sh/release-name": "kiln", "meta.helm.sh/release-namespace": system},
			"by release kiln in namespace modelkiln-system, and a cluster can have one installation only. Upgrade it with: helm upgrade kiln -n modelkiln-system",
		},
		"another namespace": {
			map[string]any{"meta.helm.sh/release-name": "modelkiln", "meta.helm.sh/release-namespace": "ml"},
			"by release modelkiln in namespace ml",
		},
		// Helm itself refuses to adopt objects, without --take-ownership.
		"installed without Helm": {nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			role := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
				"metadata": map[string]any{"name": "modelkiln-manager", "annotations": tt.annotations},
			}}
			_, err := cluster{namespace: system, lookup: existing{role}}.render(t, "")
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
