package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// A KindWatcher is the controller of kinds that come and go with their CRDs. It
// starts the watches of other controllers on them: immediately if the API server
// serves the kinds at the start, and otherwise as soon as it does. Nothing is
// watched or cached for a kind that is absent.
//
// controller-runtime does not support this: a watch on a kind that is absent ends
// the operator.
type KindWatcher struct {
	// name is the name of the controller.
	name string
	// crds reads the metadata of CRDs from the cache.
	crds client.Reader
	// mapper knows the kinds that the API server serves.
	mapper meta.RESTMapper
	// sets are the kinds.
	sets []*kindSet
	// watchEarly starts the watches on the kinds that are served at the start
	// before any controller runs, which then waits until it has seen all of their
	// objects.
	watchEarly bool
	// onChange is called after kinds have become present or absent.
	onChange func(context.Context)
}

// A kindSet is kinds that are used together: they are watched as soon as the API
// server serves all of them.
type kindSet struct {
	kinds []schema.GroupVersionKind
	// watch starts the watches. It is called until it succeeds.
	watch   func(context.Context) error
	watched bool
	// removable is true if the kinds become absent when one of their CRDs is
	// deleted. Other kinds remain present: a watch resumes when the CRD is created
	// again.
	removable bool
	// present is true while the cluster has the kinds.
	present *atomic.Bool
}

// argoKinds are the kinds of Argo that the operator watches.
var argoKinds = []schema.GroupVersionKind{
	wfv1.SchemeGroupVersion.WithKind("Workflow"),
	wfv1.SchemeGroupVersion.WithKind("ClusterWorkflowTemplate"),
}

// NewArgoWatcher returns the controller that fills a cache with Argo's objects, and
// has the ModelVersion and Model controllers watch them. A cache of a kind that is gone shows
// what was, so the kinds are removable.
func NewArgoWatcher(mgr ctrl.Manager, argo *ArgoCache, versions *ModelVersionReconciler, models *ModelReconciler) *KindWatcher {
	watch := func(ctx context.Context) error {
		c, err := startArgoCache(ctx, mgr, argo.Settings)
		if err != nil {
			return err
		}
		if err := errors.Join(versions.watchArgo(mgr, c), models.watchArgo(mgr, c)); err != nil {
			return err
		}
		argo.cache.Store(&c)
		return nil
	}
	return &KindWatcher{
		name:       "argo-kinds",
		crds:       mgr.GetClient(),
		mapper:     mgr.GetRESTMapper(),
		sets:       []*kindSet{{kinds: argoKinds, watch: watch, removable: true, present: &argo.present}},
		watchEarly: true,
		onChange: func(ctx context.Context) {
			versions.requeueUnfinished(ctx)
			models.requeueWithTags(ctx)
		},
	}
}

func startArgoCache(ctx context.Context, mgr ctrl.Manager, s CacheSettings) (cache.Cache, error) {
	options, err := argoCacheOptions(mgr, s)
	if err != nil {
		return nil, err
	}
	c, err := cache.New(mgr.GetConfig(), options)
	if err != nil {
		return nil, fmt.Errorf("set up the cache of Argo's objects: %w", err)
	}
	if err := c.IndexField(ctx, metadataOf(argoKinds[0]), indexOwner, controllerUID); err != nil {
		return nil, err
	}
	return c, mgr.Add(c)
}

// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=jobset.x-k8s.io,resources=jobsets,verbs=get;list;watch,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=kubeflow.org,resources=pytorchjobs;tfjobs,verbs=get;list;watch,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=trainer.kubeflow.org,resources=trainjobs,verbs=get;list;watch,roleName=modelkiln-namespaced

// NewTrainingWatcher returns the controller that has the ModelVersion controller
// and the workload controller watch the training kinds.
//
// It does not watch early: the ModelVersion controller would not start before it
// has listed all workloads, and permissions to read a kind from the configuration
// may be missing.
func NewTrainingWatcher(mgr ctrl.Manager, versions *ModelVersionReconciler, workloads *WorkloadReconciler) *KindWatcher {
	w := &KindWatcher{
		name:     "training-kinds",
		crds:     mgr.GetClient(),
		mapper:   mgr.GetRESTMapper(),
		onChange: versions.requeueUnfinished,
	}
	for _, training := range versions.Options.TrainingKinds {
		kind := training.GroupVersionKind
		watch := func(context.Context) error {
			if err := versions.watchTraining(kind); err != nil {
				return err
			}
			return workloads.watch(kind)
		}
		w.sets = append(w.sets, &kindSet{kinds: []schema.GroupVersionKind{kind}, watch: watch, present: new(atomic.Bool)})
	}
	return w
}

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=list;watch

// Reconcile is called at the start, and when a CRD of one of the kinds' API groups
// was created, changed or deleted.
func (w *KindWatcher) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	changed := false
	var errs []error
	for _, set := range w.sets {
		before := set.present.Load()
		errs = append(errs, w.update(ctx, set))
		changed = changed || set.present.Load() != before
	}
	if changed {
		w.onChange(ctx)
	}
	return ctrl.Result{}, errors.Join(errs...)
}

// update finds out whether the cluster has a set of kinds, and watches them if it
// does.
func (w *KindWatcher) update(ctx context.Context, set *kindSet) error {
	installed, err := crdsInstalled(ctx, w.crds, set.kinds)
	if err != nil {
		return err
	}
	if !installed && set.removable {
		set.present.Store(false)
		return nil
	}
	served, err := w.served(set)
	if err != nil {
		return err
	}
	if installed && !served {
		// A new CRD is served a moment after it was created, without a further event:
		// the error causes a retry.
		return fmt.Errorf("the API server does not serve %s yet", set.kinds[0].GroupKind())
	}
	if !served {
		return nil
	}
	return set.ensureWatched(ctx)
}

// served reports whether the API server serves all kinds of a set.
func (w *KindWatcher) served(set *kindSet) (bool, error) {
	for _, kind := range set.kinds {
		_, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("discover the kind %s: %w", kind.GroupKind(), err)
		}
	}
	return true, nil
}

func (s *kindSet) ensureWatched(ctx context.Context) error {
	if !s.watched {
		if err := s.watch(ctx); err != nil {
			return err
		}
		s.watched = true
	}
	s.present.Store(true)
	return nil
}

// crdsInstalled reports whether the cluster has CRDs of all these kinds. Their
// names are guessed from the kinds, as kubectl does.
func crdsInstalled(ctx context.Context, reader client.Reader, kinds []schema.GroupVersionKind) (bool, error) {
	for _, kind := range kinds {
		resource, _ := meta.UnsafeGuessKindToResource(kind)
		name := resource.GroupResource().String()
		err := reader.Get(ctx, client.ObjectKey{Name: name}, crdMetadata())
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("get CRD %s: %w", name, err)
		}
	}
	return true, nil
}

// argoInstalled reports whether the cluster has the CRDs of Argo's kinds.
func (r *ModelVersionReconciler) argoInstalled(ctx context.Context) (bool, error) {
	return crdsInstalled(ctx, r.Client, argoKinds)
}

// SetupWithManager registers the controller. The controllers that are to watch the
// kinds are registered before it.
func (w *KindWatcher) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if w.watchEarly {
		if err := w.watchServed(ctx); err != nil {
			return err
		}
	}
	start := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{})
		return nil
	})
	toOnlyRequest := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named(w.name).
		WatchesRawSource(start).
		WatchesMetadata(crdMetadata(), toOnlyRequest, builder.WithPredicates(w.hasGroup())).
		Complete(w)
}

// watchServed watches the kinds that the API server serves now.
func (w *KindWatcher) watchServed(ctx context.Context) error {
	for _, set := range w.sets {
		served, err := w.served(set)
		if err != nil {
			return err
		}
		if !served {
			continue
		}
		if err := set.ensureWatched(ctx); err != nil {
			return err
		}
	}
	return nil
}

// hasGroup selects the CRDs of the kinds' API groups. It does not compare whole
// names, which are only guessed.
func (w *KindWatcher) hasGroup() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(crd client.Object) bool {
		group := schema.ParseGroupResource(crd.GetName()).Group
		return slices.ContainsFunc(w.sets, func(set *kindSet) bool {
			return slices.ContainsFunc(set.kinds, func(kind schema.GroupVersionKind) bool { return kind.Group == group })
		})
	})
}
