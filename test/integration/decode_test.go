package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
)

// oddValues are values, as JSON, that some type in Go cannot hold.
var oddValues = []string{
	`null`, `true`, `0`, `-1`, `1.5`, `1e3`, `1e18`, `1e19`, `1e300`, `2147483648`, `9223372036854775807`, `9223372036854775808`,
	`""`, `" 1"`, `"a"`, `"é\u0000"`, `"."`, `".5Gi"`, `"+1"`, `"1e1.5"`, `"1e.5"`, `"1e99"`, `"1e99999999999999999999"`, `"1Gib"`,
	`"2026-01-01"`, `"2026-01-01T00:00:00Z"`, `"2026-01-01t00:00:00z"`, `"2026-01-01T00:00:00z"`, `"2026-01-01T23:59:60Z"`, `"2026-01-01T00:00:00+24:00"`,
	`"2026-01-01T00:00:00x5Z"`, `"2026-01-01T00:00:00.1234567891234Z"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-23:00"`, `"2026-01-01 00:00:00Z"`,
	`{}`, `{"a":"b"}`, `{"a":{}}`, `{"a":1}`, `[]`, `["a"]`, `[{}]`, `[null]`, `{"cpu":{}}`, `{"cpu":null}`, `{"cpu":1.5}`,
}

// times are the fields that can hold what Go cannot decode: the API server accepts a
// list, and a time with a lowercase t, for every time in any custom resource. All are
// in the status, which only administrators and the operator may write.
var times = []any{"startTime", "finishTime", "progressTime", "lastTransitionTime"}

// One object that cannot be decoded would fail every list, and so end the operator for
// all namespaces. The schema must refuse whatever Go cannot decode, in every field.
func TestStoredObjectsCanBeDecoded(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, shared)
	toJSON := func(o client.Object) map[string]any {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		require.NoError(t, err)
		return object
	}
	full := builders.MakeModelVersion("mv-3", s.namespace).TrainedBy("batch/v1", "Job", "train").Engine(v1alpha1.Stream).
		BaseImage("busybox:1").PushSecret("push").Deadline(600).NodeLabel("a", "b").
		Toleration(v1alpha1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}).
		Request(corev1.ResourceCPU, "1").Limit(corev1.ResourceMemory, "1Gi").Rebuild("1")
	versions := map[string]map[string]any{}
	for name, w := range map[string]*v1alpha1.ModelVersion{
		"local": full.LocalStorage("/foo", "node-1").New(), "nfs": builders.MakeModelVersion("mv-3", s.namespace).NFS("nas", "/a").New(),
		"claim": builders.MakeModelVersion("mv-3", s.namespace).Claim("models", "a").New(),
		"efs":   builders.MakeModelVersion("mv-3", s.namespace).AWSEfs("fs-12345678").AWSEfsAttribute("path", "/").New(),
	} {
		versions[name] = toJSON(w)
	}
	create := func(o client.Object) error { return s.client.Create(t.Context(), o, client.DryRunAll) }
	for name, version := range versions {
		t.Run("the spec of a ModelVersion with "+name, func(t *testing.T) {
			t.Parallel()
			assertDecodable(t, version, "spec", create, &v1alpha1.ModelVersion{})
		})
	}
	t.Run("a Model", func(t *testing.T) {
		t.Parallel()
		m := &v1alpha1.Model{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Model"}, ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "m"}}
		m.Spec.Description = ptr.To("a")
		assertDecodable(t, toJSON(m), "spec", create, &v1alpha1.Model{})
	})
	t.Run("the status of a ModelVersion", func(t *testing.T) {
		t.Parallel()
		stored := s.create(claimVersion)
		stored.APIVersion, stored.Kind = v1alpha1.GroupVersion.String(), "ModelVersion"
		stored.Status = fullStatus()
		update := func(o client.Object) error { return s.client.Status().Update(t.Context(), o, client.DryRunAll) }
		assertDecodable(t, toJSON(stored), "status", update, &v1alpha1.ModelVersion{})
	})
}

// fullStatus returns a status in which every kind of field is set.
func fullStatus() v1alpha1.ModelVersionStatus {
	at := metav1.NewTime(time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC))
	return v1alpha1.ModelVersionStatus{
		Image: "a:b", ImageBuildPhase: v1alpha1.ImageBuildSucceeded, Message: "a", Digest: builders.Digest, NodeName: "a",
		StartTime: &at, FinishTime: &at, Files: 1, SizeBytes: 1, ImageSizeBytes: 1, SentBytes: 1, ReusedBytes: 1, Attempts: 1, ObservedGeneration: 1,
		Workflow:   &v1alpha1.WorkflowStatus{Name: "a", UID: "a", Phase: "a", Generation: 1, ProgressPercent: ptr.To[int32](1), ProgressTime: &at, Restarts: 1},
		Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "A", Message: "a", LastTransitionTime: at, ObservedGeneration: 1}},
	}
}

// assertDecodable writes odd values into every field of a part of an object, and
// asserts that what the API server accepts can be decoded.
func assertDecodable(t *testing.T, object map[string]any, part string, write func(client.Object) error, into client.Object) {
	t.Helper()
	accepted := 0
	forEachPath(object[part], []any{part}, func(path []any) {
		if slices.Contains(times, path[len(path)-1]) {
			return
		}
		for _, value := range oddValues {
			odd := &unstructured.Unstructured{Object: replaced(object, path, json.RawMessage(value)).(map[string]any)}
			if write(odd) != nil {
				continue
			}
			accepted++
			raw, err := json.Marshal(odd.Object)
			require.NoError(t, err)
			empty := into.DeepCopyObject()
			assert.NoError(t, kjson.UnmarshalCaseSensitivePreserveInts(raw, empty), "%v: %s", path, value)
		}
	})
	assert.Positive(t, accepted, "the object itself must be valid")
}

// forEachPath calls do with the path of every value in a decoded JSON value.
func forEachPath(value any, path []any, do func(path []any)) {
	do(path)
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			forEachPath(item, append(path[:len(path):len(path)], key), do)
		}
	case []any:
		for i, item := range v {
			forEachPath(item, append(path[:len(path):len(path)], i), do)
		}
	}
}

// replaced returns a copy of a value with another one at a path.
func replaced(value any, path []any, by any) any {
	if len(path) == 0 {
		return by
	}
	switch v := value.(type) {
	case map[string]any:
		result := map[string]any{}
		for key, item := range v {
			result[key] = item
		}
		result[path[0].(string)] = replaced(v[path[0].(string)], path[1:], by)
		return result
	case []any:
		result := append([]any{}, v...)
		result[path[0].(int)] = replaced(v[path[0].(int)], path[1:], by)
		return result
	}
	panic(fmt.Sprintf("no %v in a %T", path, value))
}
