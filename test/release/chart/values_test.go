package chart

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/internal/config"
)

func TestValues_Typos(t *testing.T) {
	tests := map[string]struct{ values, want string }{
		"a key":                           {`crd: {enabled: false}`, "'crd'"},
		"a nested key":                    {`crds: {enable: false}`, "'enable'"},
		"a field of a pod":                {`pod: {nodeselector: {}}`, "'nodeselector'"},
		"a field of the config":           {`config: {allowedHostPath: [/models]}`, "'allowedHostPath'"},
		"a nested field":                  {`config: {registries: [{hots: registry.example.com}]}`, "'hots'"},
		"a field of build pods":           {`config: {buildPods: {environment: {}}}`, "'environment'"},
		"an engine":                       {`config: {engine: Strem}`, "engine"},
		"a mount":                         {`config: {servingMount: Volume}`, "servingMount"},
		"a format of signatures":          {`config: {signing: {formats: [bundle]}}`, "formats"},
		"a mode of verification":          {`config: {verification: {serving: Required}}`, "serving"},
		"an expression":                   {`config: {trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun, completed: true}]}`, "completed"},
		"a text for a list":               {`config: {allowedHostPaths: /models}`, "allowedHostPaths"},
		"a text for a list of the policy": {`policy: {lists: {allowedStorage: nfs}}`, "allowedStorage"},
		"a list of the policy":            {`policy: {lists: {team-a.allowedStorages: [nfs]}}`, "'team-a.allowedStorages'"},
		"a text for a number":             {`replicas: "2"`, "replicas"},
		"a text for a boolean":            {`webhook: {enabled: "false"}`, "enabled"},
		"a number for a limit":            {`config: {deadlineSeconds: 1h}`, "deadlineSeconds"},
		"memory without a unit":           {`pod: {resources: {limits: {memory: "536870912"}}}`, "memory"},
		"an image without a tag":          {`image: {operator: registry.example.com/modelkiln}`, "operator"},
		"a registry with a scheme":        {`global: {imageRegistry: "https://mirror.example.com"}`, "imageRegistry"},
		"a registry with a path":          {`global: {imageRegistry: mirror.example.com/ghcr}`, "imageRegistry"},
		"no account of Argo":              {`policy: {workflows: {enabled: true, controllers: []}}`, "controllers"},
		"a label for monitoring":          {`monitoring: {labels: {release: 1}}`, "release"},
		"an account without a name":       {`monitoring: {serviceMonitor: {serviceAccount: {name: ""}}}`, "serviceAccount"},
		"an image without a string":       {`image: {step: {tag: v1}}`, "step"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := cluster{namespace: system}.render(t, tt.values)
			require.ErrorContains(t, err, "values don't meet the specifications of the schema")
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// What the documentation of the configuration shows is accepted.
func TestValues_Config(t *testing.T) {
	for name, values := range map[string]string{
		"expressions":             `config: {trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun, completed: 'status.?phase.orValue("") == "Succeeded"', failed: 'status.?phase.orValue("") in ["Failed"]'}]}`,
		"no verification":         `config: {verification: {serving: Off}}`,
		"verification as default": `config: {verification: {serving: ""}, fileDigests: ""}`,
		"signatures":              `config: {signing: {required: true, formats: [Bundle, Tag], attest: [Provenance, Files]}}`,
		"quantities":              `config: {layerSize: 67108864, limits: {memory: 1Gi, cpu: 2}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var want map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(values), &want))
			installed := parsedConfig(t, mustRender(t, values).objects[configID])
			content := field(t, installed, "data", "config.yaml")
			for key, value := range want["config"].(map[string]any) {
				if fields, ok := value.(map[string]any); ok {
					assert.Subset(t, field(t, content, key), fields)
					continue
				}
				assert.Equal(t, value, field(t, content, key))
			}
			raw, err := yaml.Marshal(content)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(file, raw, 0o600))
			_, err = config.Load(file)
			assert.NoError(t, err, "the operator starts")
		})
	}
}

// Every choice in the schema is one that the operator accepts, and no other is.
func TestValues_Choices(t *testing.T) {
	for path, accepted := range map[string]bool{
		"engine: Kaniko": true, "engine: Stream": true, "engine: kaniko": false,
		"fileDigests: Record": true, "fileDigests: Skip": true, `fileDigests: ""`: true, "fileDigests: None": false,
		"servingMount: Auto": true, "servingMount: ImageVolume": true, "servingMount: InitContainer": true, "servingMount: auto": false,
		"signing: {formats: [Bundle]}": true, "signing: {formats: [Tag]}": true, "signing: {formats: [Cosign]}": false,
		"signing: {attest: [Provenance]}": true, "signing: {attest: [Files]}": true, "signing: {attest: [Training]}": false,
		"verification: {serving: Off}": true, "verification: {serving: Warn}": true, `verification: {serving: ""}`: true, "verification: {serving: true}": false,
	} {
		t.Run(path, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(file, []byte(path), 0o600))
			_, operatorRefuses := config.Load(file)
			_, helmRefuses := cluster{namespace: system}.render(t, "config: {"+path+"}")
			assert.Equal(t, accepted, operatorRefuses == nil, "the operator: %v", operatorRefuses)
			assert.Equal(t, accepted, helmRefuses == nil, "Helm: %v", helmRefuses)
		})
	}
}

// Helm removes a value that is null, such as a key below which all lines are comments. That
// is as if a list or a map were empty, and is refused where it would switch something.
func TestValues_Null(t *testing.T) {
	for path, value := range defaults(loadChart(t).Values, "") {
		t.Run(path, func(t *testing.T) {
			var values map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(everyOption), &values))
			require.NoError(t, unstructured.SetNestedField(values, nil, strings.Split(path, ".")...))
			raw, err := yaml.Marshal(values)
			require.NoError(t, err)
			_, err = cluster{namespace: system}.render(t, string(raw))
			switch value.(type) {
			case bool, float64:
				require.ErrorContains(t, err, "values don't meet the specifications of the schema")
			default:
				if err != nil {
					assert.ErrorContains(t, err, "missing propert")
				}
			}
		})
	}
}

// defaults returns the default values by their paths, but for those of the configuration,
// whose defaults are the operator's.
func defaults(values map[string]any, prefix string) map[string]any {
	all := map[string]any{}
	for key, value := range values {
		all[prefix+key] = value
		if nested, ok := value.(map[string]any); ok && key != "config" {
			maps.Copy(all, defaults(nested, prefix+key+"."))
		}
	}
	return all
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
