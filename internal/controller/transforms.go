package controller

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// Users write labels, annotations, owners and finalizers of any number and, but for
// labels, of any length into objects of all kinds. The cache keeps those that are
// read.

// stripAnnotations drops annotations, in which kubectl keeps the whole object.
func stripAnnotations(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetAnnotations(nil)
		o.SetManagedFields(nil)
	}
	return object, nil
}

// stripModel drops the metadata of a Model, but for the annotations that say who promoted
// a ModelVersion to the aliases that the Model has.
func stripModel(object any) (any, error) {
	if model, ok := object.(*v1alpha1.Model); ok {
		var promoters []string
		for _, alias := range model.Spec.Aliases {
			promoters = append(promoters, v1alpha1.AnnotationPromotedBy+alias.Name)
		}
		strip(model, promoters)
	}
	return object, nil
}

// annotationReduced marks a cached ModelVersion that does not have all of its owners and
// finalizers. Only the cache has it: a user's is dropped.
const annotationReduced = "model.kubedl.io/reduced"

// stripVersion drops the metadata of a ModelVersion that is not read. A patch replaces the
// whole list of owners or finalizers, so they stay unless they are many or long: see
// complete.
func stripVersion(object any) (any, error) {
	if mv, ok := object.(*v1alpha1.ModelVersion); ok {
		owners, finalizers := mv.OwnerReferences, mv.Finalizers
		strip(mv, []string{v1alpha1.AnnotationRebuild, v1alpha1.AnnotationJoined, v1alpha1.AnnotationTrained, v1alpha1.AnnotationCreatedByUser}, v1alpha1.LabelModelName)
		isLong := func(owner metav1.OwnerReference) bool { return !isShort(owner) }
		if len(owners) > maxListed || len(finalizers) > maxListed || slices.ContainsFunc(owners, isLong) {
			metav1.SetMetaDataAnnotation(&mv.ObjectMeta, annotationReduced, "")
			owners = slices.DeleteFunc(lifecycle.Models(owners), isLong)
			owners = slices.Clone(owners[:min(len(owners), maxListed)])
			finalizers = slices.DeleteFunc(finalizers, func(f string) bool { return f != v1alpha1.FinalizerVolume })
			finalizers = slices.Clone(finalizers)
		}
		mv.OwnerReferences, mv.Finalizers = slices.Clone(owners), finalizers
		shareMemory(mv)
	}
	return object, nil
}

// shareMemory has equal texts of a ModelVersion share their bytes, and lists take the
// space of their elements: the decoder makes room for four.
func shareMemory(mv *v1alpha1.ModelVersion) {
	mv.Status.Conditions = slices.Clone(mv.Status.Conditions)
	for i := range mv.Status.Conditions {
		if c := &mv.Status.Conditions[i]; c.Message == mv.Status.Message {
			c.Message = mv.Status.Message
		}
	}
}

// maxListed is how many owners or finalizers of a ModelVersion are kept.
const maxListed = 8

// stripWorkflow drops the metadata of a Workflow that is not read.
func stripWorkflow(object any) (any, error) {
	if wf, ok := object.(client.Object); ok {
		strip(wf, workflow.Annotations(), v1alpha1.LabelModelVersionUID, v1alpha1.LabelAlias, v1alpha1.LabelAttempt, labelPhase, labelCompleted)
	}
	return object, nil
}

// stripTemplate drops everything but the name of a ClusterWorkflowTemplate and the
// label that allows ModelVersions to name it.
func stripTemplate(object any) (any, error) {
	if template, ok := object.(client.Object); ok {
		strip(template, nil, v1alpha1.LabelBuildTemplate)
	}
	return object, nil
}

// stripBuildPod drops what is not read of a build's pod.
func stripBuildPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		strip(pod, []string{annotationNode}, append(slices.Collect(maps.Keys(contract.BuildPodLabels())), labelWorkflow)...)
		gates, message, waits := pod.Spec.SchedulingGates, gatedMessage(pod), bounded(pendingMessage(pod))
		pod.Spec, pod.Status = corev1.PodSpec{SchedulingGates: slices.Clone(gates[:min(len(gates), maxGates)])}, corev1.PodStatus{Phase: pod.Status.Phase, Message: waits}
		if message != "" {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated, Message: bounded(message)}}
		}
	}
	return object, nil
}

// maxGates is how many scheduling gates of a pod are kept.
const maxGates = 5

// stripTrainingPod drops everything but the name, node and phase of a training pod,
// the labels that show whether it is the chief, and its images and the ModelVersion that
// it was given.
func stripTrainingPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		strip(pod, []string{v1alpha1.AnnotationServedVersion, v1alpha1.AnnotationServedImage}, append(workload.ChiefLabels(), v1alpha1.LabelTrainVersion)...)
		pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
		pod.Status = corev1.PodStatus{Phase: pod.Status.Phase, ContainerStatuses: imagesOf(pod)}
	}
	return object, nil
}

// maxImages is how many images of a pod are kept, and maxReference the number of bytes of
// a reference to one.
const maxImages, maxReference = 8, 512

// imagesOf returns the images of a pod's containers.
func imagesOf(pod *corev1.Pod) []corev1.ContainerStatus {
	var images []corev1.ContainerStatus
	for _, status := range pod.Status.ContainerStatuses[:min(len(pod.Status.ContainerStatuses), maxImages)] {
		images = append(images, corev1.ContainerStatus{Image: text.TruncateBytes(status.Image, maxReference), ImageID: text.TruncateBytes(status.ImageID, maxReference)})
	}
	return images
}

// stripServingPod drops everything but the name of a pod, the alias that it serves, and
// the image that it has got.
func stripServingPod(object any) (any, error) {
	if pod, ok := object.(client.Object); ok {
		strip(pod, []string{v1alpha1.AnnotationServedImage}, v1alpha1.LabelServeModel, v1alpha1.LabelServeAlias)
	}
	return object, nil
}

// stripNode drops everything but the name of a node, whether pods may run there, and
// the versions of its kubelet and container runtime.
func stripNode(object any) (any, error) {
	if node, ok := object.(*corev1.Node); ok {
		info := node.Status.NodeInfo
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
			Spec:       corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable, Taints: node.Spec.Taints},
			Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion:          bounded(info.KubeletVersion),
				ContainerRuntimeVersion: bounded(info.ContainerRuntimeVersion),
				OperatingSystem:         bounded(info.OperatingSystem),
			}},
		}, nil
	}
	return object, nil
}

// stripWorkload drops everything but the name of a training workload, and whether
// it has a template: that annotation is kept without its content.
func stripWorkload(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		hasTemplate := workload.HasTemplate(o)
		strip(o, nil)
		if hasTemplate {
			o.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: ""})
		}
	}
	return object, nil
}

// stripEvent drops what is not read of an event.
func stripEvent(object any) (any, error) {
	if ev, ok := object.(*corev1.Event); ok {
		about := ev.InvolvedObject
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: ev.Namespace, Name: ev.Name, UID: ev.UID, ResourceVersion: ev.ResourceVersion},
			InvolvedObject: corev1.ObjectReference{Namespace: boundedName(about.Namespace), Name: boundedName(about.Name), UID: types.UID(boundedName(string(about.UID)))},
			Message:        bounded(ev.Message),
			LastTimestamp:  ev.LastTimestamp,
		}, nil
	}
	return object, nil
}

// strip drops the annotations and labels of an object other than these, all owners
// but its controller, and the finalizers. A controller that does not exist is dropped, too.
func strip(o client.Object, annotations []string, labels ...string) {
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	o.SetAnnotations(keep(o.GetAnnotations(), annotations...))
	o.SetLabels(keep(o.GetLabels(), labels...))
	owner := metav1.GetControllerOf(o)
	o.SetOwnerReferences(nil)
	if owner != nil && isShort(*owner) {
		o.SetOwnerReferences([]metav1.OwnerReference{*owner})
	}
}

// maxOwner is the number of bytes of a reference to an owner, whose name has up to 253
// and whose UID has 36. The API server accepts any.
const maxOwner = 1024

func isShort(owner metav1.OwnerReference) bool {
	return len(owner.APIVersion)+len(owner.Kind)+len(owner.Name)+len(owner.UID) <= maxOwner
}

// keep returns the entries with these keys, with values of bounded length, or nil if there
// is none.
func keep(all map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, found := all[key]; found {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = bounded(value)
		}
	}
	return kept
}

// maxValue is the number of bytes that are kept of a text: that of the longest
// annotation that is read.
const maxValue = 4096

func bounded(value string) string { return text.TruncateBytes(value, maxValue) }

// boundedName returns as much of a name or a UID as an object can have.
func boundedName(value string) string {
	const maxName = 253
	return text.TruncateBytes(value, maxName)
}
