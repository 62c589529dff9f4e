package controller

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
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
			&v1alpha1.Model{}:          {Transform: stripModel},
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

// NewServingCache returns a cache, which the manager starts, of the metadata of the pods
// that serve an alias and have not ended. Without such pods it is empty.
func NewServingCache(ctx context.Context, mgr ctrl.Manager, s CacheSettings) (cache.Cache, error) {
	serves, err := hasLabel(v1alpha1.LabelServeAlias)
	if err != nil {
		return nil, err
	}
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	)
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme:                   mgr.GetScheme(),
		Mapper:                   mgr.GetRESTMapper(),
		HTTPClient:               mgr.GetHTTPClient(),
		DefaultNamespaces:        s.namespaces(),
		DefaultWatchErrorHandler: s.watchErrorHandler(),
		ByObject:                 map[client.Object]cache.ByObject{podMetadata(): {Label: serves, Field: running, Transform: stripServingPod}},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the cache of pods that serve an alias: %w", err)
	}
	err = c.IndexField(ctx, podMetadata(), indexServedModel, func(o client.Object) []string {
		return []string{o.GetLabels()[v1alpha1.LabelServeModel]}
	})
	if err != nil {
		return nil, err
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
	return c, mgr.Add(inEveryReplica{c})
}

// inEveryReplica is a cache that the manager starts in every replica, and not only in the
// leader.
type inEveryReplica struct{ cache.Cache }

// NeedLeaderElection returns false.
func (inEveryReplica) NeedLeaderElection() bool { return false }

// hasLabel selects the objects that have a label, whatever its value.
func hasLabel(label string) (labels.Selector, error) {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	return labels.NewSelector().Add(*requirement), nil
}

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

func podMetadata() *metav1.PartialObjectMetadata {
	return metadataOf(corev1.SchemeGroupVersion.WithKind("Pod"))
}

func namespaceMetadata() *metav1.PartialObjectMetadata {
	return metadataOf(corev1.SchemeGroupVersion.WithKind("Namespace"))
}
