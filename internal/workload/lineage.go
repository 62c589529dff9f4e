package workload

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
)

// Facts returns what is observed of a training: the workload, what it has its data and
// its base model loaded from, and of its pods the images and the ModelVersions that they
// were given. Environment variables and arguments, which may hold secrets, are not read.
// Pods that are older than the workload are those of another one of the same name.
func Facts(object *unstructured.Unstructured, pods []corev1.Pod) []v1alpha1.LineageFact {
	facts := []v1alpha1.LineageFact{{Kind: v1alpha1.WorkloadFact, Name: object.GetKind() + " " + object.GetName(), Digest: "uid:" + string(object.GetUID()), Value: span(object)}}
	facts = append(facts, initializers(object)...)
	since := object.GetCreationTimestamp()
	own := slices.DeleteFunc(slices.Clone(pods), func(pod corev1.Pod) bool { return pod.CreationTimestamp.Before(&since) })
	slices.SortFunc(own, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for i := range own {
		facts = append(facts, podFacts(&own[i])...)
	}
	for i := range facts {
		facts[i].Origin = v1alpha1.ObservedFact
	}
	return facts
}

// span returns when a workload started and ended, as "START/END", or when it started if it
// is not known when it ended.
func span(object *unstructured.Unstructured) string {
	status := statusOf(object)
	created := object.GetCreationTimestamp()
	start := cmp.Or(firstTime(status, "startTime", "startedAt"), created.UTC().Format(time.RFC3339))
	end := firstTime(status, "completionTime", "finishedAt", "endTime")
	for _, condition := range conditionsOf(status) {
		switch condition["type"] {
		case "Complete", "Completed", "Succeeded":
			if condition["status"] == string(corev1.ConditionTrue) {
				end = cmp.Or(end, firstTime(condition, "lastTransitionTime"))
			}
		}
	}
	return strings.TrimSuffix(start+"/"+end, "/")
}

// firstTime returns the first time in these fields, or an empty string.
func firstTime(object map[string]any, fields ...string) string {
	for _, field := range fields {
		if t, err := time.Parse(time.RFC3339, stringAt(object, field)); err == nil {
			return t.UTC().Format(time.RFC3339)
		}
	}
	return ""
}

// initializers returns what a TrainJob has loaded before it trains: the field
// spec.initializer in kubeflow/trainer, pkg/apis/trainer/v1alpha1/trainjob_types.go.
func initializers(object *unstructured.Unstructured) []v1alpha1.LineageFact {
	if object.GroupVersionKind().Group != "trainer.kubeflow.org" {
		return nil
	}
	var facts []v1alpha1.LineageFact
	for _, from := range []struct {
		field string
		kind  v1alpha1.LineageKind
	}{{"dataset", v1alpha1.DatasetFact}, {"model", v1alpha1.BaseModelFact}} {
		uri, _, _ := unstructured.NestedString(object.Object, "spec", "initializer", from.field, "storageUri")
		// What follows a question mark can be a signature that grants access.
		uri, _, _ = strings.Cut(uri, "?")
		facts = append(facts, v1alpha1.LineageFact{Kind: from.kind, URI: uri})
	}
	return facts
}

// podFacts returns the images of a pod, and the ModelVersion that it was given.
func podFacts(pod *corev1.Pod) []v1alpha1.LineageFact {
	var facts []v1alpha1.LineageFact
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		if status.ImageID == "" {
			continue
		}
		facts = append(facts, imageFact(status.Image, status.ImageID))
	}
	if name := pod.Annotations[v1alpha1.AnnotationServedVersion]; name != "" {
		image := pod.Annotations[v1alpha1.AnnotationServedImage]
		_, digest, _ := strings.Cut(image, "@")
		facts = append(facts, v1alpha1.LineageFact{Kind: v1alpha1.BaseModelFact, Name: lineage.VersionName(name), URI: image, Digest: digest})
	}
	return facts
}

// imageFact returns the fact that a container ran an image. Container runtimes report the
// image that they have pulled by its digest in its repository, or one that was not pulled
// by an ID that no registry knows. Docker's shim puts docker-pullable:// before it.
func imageFact(image, id string) v1alpha1.LineageFact {
	fact := v1alpha1.LineageFact{Kind: v1alpha1.ImageFact, Name: image}
	if _, rest, found := strings.Cut(id, "://"); found {
		id = rest
	}
	if _, digest, pulled := strings.Cut(id, "@"); pulled {
		fact.URI, fact.Digest = id, digest
	} else {
		fact.Value = id
	}
	return fact
}
