package workload

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// fact returns an observed fact.
func fact(kind v1alpha1.LineageKind, name, uri, digest, value string) v1alpha1.LineageFact {
	return v1alpha1.LineageFact{Origin: v1alpha1.ObservedFact, Kind: kind, Name: name, URI: uri, Digest: digest, Value: value}
}

// trainingAt returns a workload that was created at 12:10, with this spec and status.
func trainingAt(apiVersion, kind string, spec, status map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec, "status": status}}
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	object.SetName("train")
	object.SetUID("77aa")
	object.SetCreationTimestamp(metav1.NewTime(time.Date(2026, time.March, 1, 12, 10, 0, 0, time.UTC)))
	return object
}

func TestFacts(t *testing.T) {
	job := func() *unstructured.Unstructured { return trainingAt("batch/v1", "Job", nil, nil) }
	itself := fact(v1alpha1.WorkloadFact, "Job train", "", "uid:77aa", "2026-03-01T12:10:00Z")
	pulled := func(name string, minute int, image, id string) corev1.Pod {
		pod := trainer(name, nil, corev1.PodRunning, minute)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: image, ImageID: id}}
		return pod
	}
	from := pulled("a", 11, "registry/train:v7", "")
	from.Annotations = map[string]string{v1alpha1.AnnotationServedVersion: "mv-2", v1alpha1.AnnotationServedImage: "modelhub/resnet@sha256:51c3"}
	for name, tt := range map[string]struct {
		object *unstructured.Unstructured
		pods   []corev1.Pod
		want   []v1alpha1.LineageFact
	}{
		"no pods": {job(), nil, []v1alpha1.LineageFact{itself}},
		"an image by digest": {job(), []corev1.Pod{pulled("a", 11, "registry/train:v7", "registry/train@sha256:ab12")}, []v1alpha1.LineageFact{
			itself, fact(v1alpha1.ImageFact, "registry/train:v7", "registry/train@sha256:ab12", "sha256:ab12", ""),
		}},
		"an image of Docker's shim": {job(), []corev1.Pod{pulled("a", 11, "train", "docker-pullable://train@sha256:ab12")}, []v1alpha1.LineageFact{
			itself, fact(v1alpha1.ImageFact, "train", "train@sha256:ab12", "sha256:ab12", ""),
		}},
		"an image that was not pulled":         {job(), []corev1.Pod{pulled("a", 11, "train", "sha256:ab12")}, []v1alpha1.LineageFact{itself, fact(v1alpha1.ImageFact, "train", "", "", "sha256:ab12")}},
		"a container that has not started":     {job(), []corev1.Pod{pulled("a", 11, "train", "")}, []v1alpha1.LineageFact{itself}},
		"a pod of an earlier Job of this name": {job(), []corev1.Pod{pulled("a", 9, "train", "train@sha256:ab12")}, []v1alpha1.LineageFact{itself}},
		"a ModelVersion that a pod was given":  {job(), []corev1.Pod{from}, []v1alpha1.LineageFact{itself, fact(v1alpha1.BaseModelFact, "ModelVersion mv-2", "modelhub/resnet@sha256:51c3", "sha256:51c3", "")}},
		"pods in the order of their names":     {job(), []corev1.Pod{pulled("b", 11, "b", "b@sha256:bb"), pulled("a", 12, "a", "a@sha256:aa")}, []v1alpha1.LineageFact{itself, fact(v1alpha1.ImageFact, "a", "a@sha256:aa", "sha256:aa", ""), fact(v1alpha1.ImageFact, "b", "b@sha256:bb", "sha256:bb", "")}},
		"the initializers of another kind":     {trainingAt("example.com/v1", "TrainJob", map[string]any{"initializer": map[string]any{"model": map[string]any{"storageUri": "hf://a"}}}, nil), nil, []v1alpha1.LineageFact{fact(v1alpha1.WorkloadFact, "TrainJob train", "", "uid:77aa", "2026-03-01T12:10:00Z")}},
		"the initializers of a TrainJob": {trainingAt("trainer.kubeflow.org/v1alpha1", "TrainJob", map[string]any{"initializer": map[string]any{
			"dataset": map[string]any{"storageUri": "s3://data/faces?X-Amz-Signature=secret"}, "model": map[string]any{"storageUri": "hf://meta-llama/Llama-3.1-8B"},
		}}, nil), nil, []v1alpha1.LineageFact{
			fact(v1alpha1.WorkloadFact, "TrainJob train", "", "uid:77aa", "2026-03-01T12:10:00Z"),
			fact(v1alpha1.DatasetFact, "", "s3://data/faces", "", ""), fact(v1alpha1.BaseModelFact, "", "hf://meta-llama/Llama-3.1-8B", "", ""),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, Facts(tt.object, tt.pods))
		})
	}
}

func TestSpan(t *testing.T) {
	condition := func(kind, status string) []any {
		return []any{map[string]any{"type": kind, "status": status, "lastTransitionTime": "2026-03-01T14:00:00Z"}}
	}
	for name, tt := range map[string]struct {
		status map[string]any
		want   string
	}{
		"no status":      {nil, "2026-03-01T12:10:00Z"},
		"running":        {map[string]any{"startTime": "2026-03-01T12:11:00Z"}, "2026-03-01T12:11:00Z"},
		"a Job":          {map[string]any{"startTime": "2026-03-01T12:11:00Z", "completionTime": "2026-03-01T13:00:00Z"}, "2026-03-01T12:11:00Z/2026-03-01T13:00:00Z"},
		"a Workflow":     {map[string]any{"startedAt": "2026-03-01T14:11:00+02:00", "finishedAt": "2026-03-01T13:00:00Z"}, "2026-03-01T12:11:00Z/2026-03-01T13:00:00Z"},
		"a condition":    {map[string]any{"conditions": condition("Complete", "True")}, "2026-03-01T12:10:00Z/2026-03-01T14:00:00Z"},
		"not completed":  {map[string]any{"conditions": condition("Complete", "False")}, "2026-03-01T12:10:00Z"},
		"no time at all": {map[string]any{"startTime": "yesterday", "completionTime": 7}, "2026-03-01T12:10:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, span(trainingAt("batch/v1", "Job", nil, tt.status)))
		})
	}
}
