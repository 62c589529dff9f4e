package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// AddToScheme adds the kinds that the controllers read and write, in addition to
// Kubernetes' own.
func AddToScheme(scheme *runtime.Scheme) error {
	return errors.Join(wfv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// CacheOptions limits the manager's cache to what the controllers read: build
// pods, the events that explain why such a pod does not start, and the names of
// CRDs. Argo's objects and training workloads have separate caches.
func CacheOptions(s CacheSettings) cache.Options {
	return cache.Options{
		DefaultNamespaces:        s.namespaces(),
		DefaultWatchErrorHandler: s.watchErrorHandler(),
		DefaultTransform:         cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.ModelVersion{}:   {Transform: stripVersion},
			&v1alpha1.Model{}:          {Transform: stripAnnotations},
			&corev1.Pod{}:              {Label: labels.SelectorFromSet(contract.BuildPodLabels()), Transform: stripBuildPod},
			&corev1.Event{}:            podEvents("FailedMount"),
			&corev1.PersistentVolume{}: {Label: labels.SelectorFromSet(workflow.ManagedLabels()), Transform: stripVolume},
			crdMetadata():              {Transform: stripAnnotations},
		},
	}
}

// CacheSettings are what all caches have in common.
type CacheSettings struct {
	// Namespaces limits the caches to objects in these namespaces, if any.
	Namespaces []string
	// WatchFailed is called when a list or a watch has failed, before it is tried
	// again.
	WatchFailed func(kind string)
}

// watchErrorHandler returns a handler that reports a failed list or watch, and logs it
// as client-go does.
func (s CacheSettings) watchErrorHandler() toolscache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, r *toolscache.Reflector, err error) {
		s.WatchFailed(r.TypeDescription())
		toolscache.DefaultWatchErrorHandler(ctx, r, err)
	}
}

// namespaces returns the limits of a cache, or nil if there are none.
func (s CacheSettings) namespaces() map[string]cache.Config {
	if len(s.Namespaces) == 0 {
		return nil
	}
	limits := map[string]cache.Config{}
	for _, name := range s.Namespaces {
		limits[name] = cache.Config{}
	}
	return limits
}

// ArgoCache caches Argo's objects while the cluster has their kinds. It is not
// part of the manager's cache: a cache that has to hold a kind that is absent
// ends the operator.
type ArgoCache struct {
	// Settings are those of all caches.
	Settings CacheSettings

	// cache is set once the kinds are watched.
	cache atomic.Pointer[cache.Cache]
	// present is true while the cluster has the kinds.
	present atomic.Bool
}

// Reader returns a reader of Argo's objects, or nil while the cluster does not
// have their kinds.
func (a *ArgoCache) Reader() client.Reader {
	if c := a.cache.Load(); c != nil && a.present.Load() {
		return *c
	}
	return nil
}

// argoCacheOptions limits the cache of Argo's objects to Workflows that build
// ModelVersions. A resubmitted Workflow keeps its labels, so none is missed.
func argoCacheOptions(mgr ctrl.Manager, s CacheSettings) (cache.Options, error) {
	builds, err := hasLabel(v1alpha1.LabelModelVersionUID)
	if err != nil {
		return cache.Options{}, err
	}
	return cache.Options{
		Scheme:                   mgr.GetScheme(),
		Mapper:                   mgr.GetRESTMapper(),
		HTTPClient:               mgr.GetHTTPClient(),
		DefaultTransform:         cache.TransformStripManagedFields(),
		DefaultNamespaces:        s.namespaces(),
		DefaultWatchErrorHandler: s.watchErrorHandler(),
		ByObject: map[client.Object]cache.ByObject{
			metadataOf(argoKinds[0]): {Label: builds, Transform: stripWorkflow},
			templateMetadata():       {Transform: stripTemplate},
		},
	}, nil
}

// NewTrainingCache returns a cache, which the manager starts, of training
// workloads, of the pods that train a ModelVersion, which their label names, and
// of the namespaces that allow ModelVersions from workloads. Of workloads and
// namespaces it holds the metadata, and of pods where they run.
func NewTrainingCache(mgr ctrl.Manager, s CacheSettings) (cache.Cache, error) {
	trains, err := hasLabel(v1alpha1.LabelTrainVersion)
	if err != nil {
		return nil, err
	}
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme:                   mgr.GetScheme(),
		Mapper:                   mgr.GetRESTMapper(),
		HTTPClient:               mgr.GetHTTPClient(),
		DefaultTransform:         stripWorkload,
		DefaultNamespaces:        s.namespaces(),
		DefaultWatchErrorHandler: s.watchErrorHandler(),
		ByObject: map[client.Object]cache.ByObject{
			namespaceMetadata(): {Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelVersionsFromWorkloads: "true"}), Transform: stripAnnotations},
			&corev1.Pod{}:       {Label: trains, Transform: stripTrainingPod},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the cache of training workloads: %w", err)
	}
	return c, mgr.Add(c)
}

// podEvents limits a cache to the events of pods with a reason. A selector has one.
func podEvents(reason string) cache.ByObject {
	return cache.ByObject{Transform: stripEvent, Field: fields.SelectorFromSet(fields.Set{"involvedObject.kind": "Pod", "reason": reason})}
}

// NewAttachCache returns a cache, which the manager starts, of the events about
// volumes that cannot be attached to the nodes of pods.
func NewAttachCache(ctx context.Context, mgr ctrl.Manager, s CacheSettings) (cache.Cache, error) {
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme:                   mgr.GetScheme(),
		Mapper:                   mgr.GetRESTMapper(),
		HTTPClient:               mgr.GetHTTPClient(),
		DefaultNamespaces:        s.namespaces(),
		DefaultWatchErrorHandler: s.watchErrorHandler(),
		ByObject:                 map[client.Object]cache.ByObject{&corev1.Event{}: podEvents("FailedAttachVolume")},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the cache of events about volumes: %w", err)
	}
	if err := indexEvents(ctx, c); err != nil {
		return nil, err
	}
	return c, mgr.Add(c)
}

// NewNodeCache returns a cache, which the manager starts, of what nodes report about
// how they run pods. It holds nothing until nodes are watched.
func NewNodeCache(mgr ctrl.Manager, s CacheSettings) (cache.Cache, error) {
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme:                   mgr.GetScheme(),
		Mapper:                   mgr.GetRESTMapper(),
		HTTPClient:               mgr.GetHTTPClient(),
		DefaultWatchErrorHandler: s.watchErrorHandler(),
		ByObject:                 map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: stripNode}},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the cache of nodes: %w", err)
	}
	return c, mgr.Add(c)
}

// hasLabel selects the objects that have a label, whatever its value.
func hasLabel(label string) (labels.Selector, error) {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	return labels.NewSelector().Add(*requirement), nil
}

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

// stripVersion drops the annotations of a ModelVersion that are not read. The
// owners and finalizers stay, because a patch replaces their whole list.
func stripVersion(object any) (any, error) {
	if mv, ok := object.(*v1alpha1.ModelVersion); ok {
		mv.ManagedFields = nil
		mv.Annotations = keep(mv.Annotations, v1alpha1.AnnotationRebuild, v1alpha1.AnnotationJoined, v1alpha1.AnnotationTrained)
	}
	return object, nil
}

// stripWorkflow drops the metadata of a Workflow that is not read.
func stripWorkflow(object any) (any, error) {
	if wf, ok := object.(client.Object); ok {
		strip(wf, workflow.Annotations(), v1alpha1.LabelModelVersionUID, v1alpha1.LabelAttempt, labelPhase, labelCompleted)
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
// and the labels that show whether it is the chief.
func stripTrainingPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		strip(pod, nil, append(workload.ChiefLabels(), v1alpha1.LabelTrainVersion)...)
		pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
		pod.Status = corev1.PodStatus{Phase: pod.Status.Phase}
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
			InvolvedObject: corev1.ObjectReference{Namespace: bounded(about.Namespace), Name: bounded(about.Name), UID: types.UID(bounded(string(about.UID)))},
			Message:        bounded(ev.Message),
			LastTimestamp:  ev.LastTimestamp,
		}, nil
	}
	return object, nil
}

// strip drops the annotations and labels of an object other than these, all owners
// but its controller, and the finalizers.
func strip(o client.Object, annotations []string, labels ...string) {
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	o.SetAnnotations(keep(o.GetAnnotations(), annotations...))
	o.SetLabels(keep(o.GetLabels(), labels...))
	owner := metav1.GetControllerOf(o)
	o.SetOwnerReferences(nil)
	if owner != nil {
		o.SetOwnerReferences([]metav1.OwnerReference{*owner})
	}
}

// keep returns the entries with these keys, with values of bounded length.
func keep(all map[string]string, keys ...string) map[string]string {
	kept := map[string]string{}
	for _, key := range keys {
		if value, found := all[key]; found {
			kept[key] = bounded(value)
		}
	}
	return kept
}

// maxValue is the number of bytes that are kept of a text: that of the longest
// annotation that is read.
const maxValue = 4096

func bounded(value string) string { return text.TruncateBytes(value, maxValue) }

// metadataOf returns an empty object of a kind of which only the metadata is read
// and cached.
func metadataOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	return object
}

func crdMetadata() *metav1.PartialObjectMetadata {
	return metadataOf(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
}

func namespaceMetadata() *metav1.PartialObjectMetadata {
	return metadataOf(corev1.SchemeGroupVersion.WithKind("Namespace"))
}
