package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// trainingReconciler watches the kinds of workloads that versions may wait for:
// those that the cluster has from the start, and the others from when they
// appear. A kind that is absent costs nothing.
type trainingReconciler struct {
	mgr      ctrl.Manager
	versions *ModelVersionReconciler
	// controller is the ModelVersion controller.
	controller controller.Controller
	// changed tells that controller that a kind has come.
	changed chan event.GenericEvent
	// carriers is the controller of workloads that carry a version's spec.
	carriers controller.TypedController[carrier]
	// cache holds the names of workloads, and training pods.
	cache cache.Cache

	mu      sync.Mutex
	watched map[schema.GroupVersionKind]bool
}

// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=jobset.x-k8s.io,resources=jobsets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=kubeflow.org,resources=pytorchjobs;tfjobs,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=trainer.kubeflow.org,resources=trainjobs,verbs=get;list;watch;patch

// Reconcile is called when a CRD of a group of such kinds has appeared, changed
// or gone.
func (t *trainingReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	come, err := t.watchServed()
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := t.awaited(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if !come {
		return ctrl.Result{}, nil
	}
	select {
	case t.changed <- event.GenericEvent{Object: &v1alpha1.ModelVersion{}}:
	case <-ctx.Done():
	}
	return ctrl.Result{}, nil
}

// watchServed begins to watch the kinds that the API server serves, and says
// whether there was a new one.
func (t *trainingReconciler) watchServed() (come bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, kind := range t.versions.Options.TrainingKinds {
		if t.watched[kind] {
			continue
		}
		_, err := t.mgr.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return come, fmt.Errorf("look for the kind %s: %w", kind.Kind, err)
		}
		workload := &metav1.PartialObjectMetadata{}
		workload.SetGroupVersionKind(kind)
		waiting := handler.EnqueueRequestsFromMapFunc(t.versions.versionsTrainedBy(kind))
		if err := t.controller.Watch(source.Kind[client.Object](t.cache, workload, waiting)); err != nil {
			return come, fmt.Errorf("watch the kind %s: %w", kind.Kind, err)
		}
		if err := t.carriers.Watch(source.TypedKind[client.Object](t.cache, workload, carriersOf(kind))); err != nil {
			return come, fmt.Errorf("watch the kind %s: %w", kind.Kind, err)
		}
		t.watched[kind], come = true, true
	}
	return come, nil
}

// awaited is an error when a kind has a CRD and is not watched yet: it is served
// a moment after the CRD was made, which no event says.
func (t *trainingReconciler) awaited(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, kind := range t.versions.Options.TrainingKinds {
		if t.watched[kind] {
			continue
		}
		resource, _ := meta.UnsafeGuessKindToResource(kind)
		err := t.versions.Client.Get(ctx, client.ObjectKey{Name: resource.GroupResource().String()}, crdMetadata())
		if err == nil {
			return fmt.Errorf("the API server does not serve the kind %s yet", kind.Kind)
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("get CRD %s: %w", resource.GroupResource(), err)
		}
	}
	return nil
}

// setup watches the kinds that are there, the appearance of others, and the pods
// that train.
func (t *trainingReconciler) setup() error {
	if err := t.mgr.Add(t.cache); err != nil {
		return err
	}
	pods := source.Kind[client.Object](t.cache, &corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(versionTrainedIn))
	if err := t.controller.Watch(pods); err != nil {
		return err
	}
	once := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	ofGroup := predicate.NewPredicateFuncs(func(o client.Object) bool {
		group := schema.ParseGroupResource(o.GetName()).Group
		return slices.ContainsFunc(t.versions.Options.TrainingKinds, func(kind schema.GroupVersionKind) bool { return kind.Group == group })
	})
	// Not here but by the first pass: the ModelVersion controller does not begin
	// before it has seen all that it is told to watch now, and the right to read
	// a kind that was configured may be missing.
	first := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{})
		return nil
	})
	return ctrl.NewControllerManagedBy(t.mgr).
		Named("training").
		WatchesRawSource(first).
		WatchesMetadata(crdMetadata(), once, builder.WithPredicates(ofGroup)).
		Complete(t)
}

// newTrainingCache holds of workloads what they are called, and of pods that
// train a version, which their label says, where they run.
func newTrainingCache(mgr ctrl.Manager) (cache.Cache, error) {
	trains, err := labels.NewRequirement(v1alpha1.LabelTrainVersion, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	return cache.New(mgr.GetConfig(), cache.Options{
		Scheme:           mgr.GetScheme(),
		Mapper:           mgr.GetRESTMapper(),
		HTTPClient:       mgr.GetHTTPClient(),
		DefaultTransform: stripWorkload,
		ByObject: map[client.Object]cache.ByObject{
			namespaceMetadata(): {Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelVersionsFromWorkloads: "true"}), Transform: onlyName},
			&corev1.Pod{}:       {Label: labels.NewSelector().Add(*trains), Transform: stripPod},
		},
	})
}

// stripWorkload drops all annotations but the word that there is one which
// carries a version's spec.
func stripWorkload(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		_, carries := o.GetAnnotations()[v1alpha1.AnnotationModelVersion]
		o.SetAnnotations(nil)
		o.SetManagedFields(nil)
		if carries {
			o.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: ""})
		}
	}
	return object, nil
}

// stripPod drops all but the names, the node and the phase of a pod.
func stripPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		pod.Annotations, pod.ManagedFields = nil, nil
		pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
		pod.Status = corev1.PodStatus{Phase: pod.Status.Phase}
	}
	return object, nil
}

// versionsTrainedBy are the versions that wait for a workload of a kind.
func (r *ModelVersionReconciler) versionsTrainedBy(kind schema.GroupVersionKind) handler.MapFunc {
	return func(ctx context.Context, workload client.Object) []reconcile.Request {
		var list v1alpha1.ModelVersionList
		if err := r.Client.List(ctx, &list, client.InNamespace(workload.GetNamespace())); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not list the versions that wait for a workload")
			return nil
		}
		return requests(slices.DeleteFunc(list.Items, func(mv v1alpha1.ModelVersion) bool {
			awaited, waits := lifecycle.TrainedBy(&mv, r.Options)
			return !waits || awaited != kind || mv.Spec.TrainedBy.Name != workload.GetName()
		}))
	}
}

// versionTrainedIn is the version that a pod trains.
func versionTrainedIn(_ context.Context, pod client.Object) []reconcile.Request {
	key := client.ObjectKey{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelTrainVersion]}
	return []reconcile.Request{{NamespacedName: key}}
}

// observeTraining reads the workload that a version waits for, past the cache,
// and the pods that tell where its files lie.
func (r *ModelVersionReconciler) observeTraining(ctx context.Context, mv *v1alpha1.ModelVersion, observed *lifecycle.Observed) error {
	kind, waits := lifecycle.TrainedBy(mv, r.Options)
	if !waits || kind.Empty() || lifecycle.IsFinished(mv) {
		return nil
	}
	workload := &unstructured.Unstructured{}
	workload.SetGroupVersionKind(kind)
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.TrainedBy.Name}, workload)
	switch {
	case meta.IsNoMatchError(err):
		observed.TrainingKindMissing = true
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("get %s %q: %w", kind.Kind, mv.Spec.TrainedBy.Name, err)
	default:
		observed.Training = workload
	}
	var pods corev1.PodList
	if err := r.Training.List(ctx, &pods, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelTrainVersion: mv.Name}); err != nil {
		return fmt.Errorf("list training pods: %w", err)
	}
	observed.TrainingPods = pods.Items
	return nil
}
