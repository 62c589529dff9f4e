package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// change is a change of a manifest: fields to set and fields to remove, by
// dotted path.
type change struct {
	set    map[string]any
	remove []string
}

func set(pairs ...any) change {
	c := change{set: map[string]any{}}
	for i := 0; i < len(pairs); i += 2 {
		c.set[pairs[i].(string)] = pairs[i+1]
	}
	return c
}

func remove(paths ...string) change {
	return change{remove: paths}
}

func (c change) apply(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	for _, path := range c.remove {
		unstructured.RemoveNestedField(object.Object, strings.Split(path, ".")...)
	}
	for path, value := range c.set {
		require.NoError(t, unstructured.SetNestedField(object.Object, value, strings.Split(path, ".")...))
	}
}

// Paths of fields that many tests change.
const (
	localPath = "spec.storage.localStorage.path"
	localNode = "spec.storage.localStorage.nodeName"
	claimName = "spec.storage.persistentVolumeClaim.claimName"
	subPath   = "spec.storage.persistentVolumeClaim.subPath"
)

func build(field string, value any) change {
	return set("spec.build", map[string]any{field: value})
}

func letters(n int) string {
	return strings.Repeat("a", n)
}

// newObject returns the object of a manifest with the given changes.
func newObject(t *testing.T, namespace, manifest string, changes ...change) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(manifest), &o.Object))
	o.SetNamespace(namespace)
	for _, c := range changes {
		c.apply(t, o)
	}
	return o
}

// resnet is the name of the ModelVersion in the manifests below.
const resnet = "resnet-1"

// The ModelVersion that most tests use, with each kind of storage.
const (
	storageless = `
apiVersion: model.kubedl.io/v1alpha1
kind: ModelVersion
metadata:
  name: ` + resnet + `
spec:
  modelName: resnet
  imageRepo: modelhub/resnet
  storage:
    `
	localVersion = storageless + "localStorage: {path: /models/resnet/1, nodeName: node-1}"
	claimVersion = storageless + "persistentVolumeClaim: {claimName: models, subPath: resnet/1}"
	nfsVersion   = storageless + "nfs: {server: nas.example.com, path: /exports/resnet}"
	efsVersion   = storageless + "AWSEfs: {volumeHandle: fs-12345678}"
)

const model = `
apiVersion: model.kubedl.io/v1alpha1
kind: Model
metadata:
  name: resnet
`
