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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
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
)

// argoKinds are those of Argo's kinds that the operator watches.
var argoKinds = []schema.GroupKind{
	wfv1.SchemeGroupVersion.WithKind("Workflow").GroupKind(),
	wfv1.SchemeGroupVersion.WithKind("ClusterWorkflowTemplate").GroupKind(),
}

// argoCRDs are the names of their CRDs.
var argoCRDs = []string{"workflows.argoproj.io", "clusterworkflowtemplates.argoproj.io"}

// argoReconciler watches Argo's kinds for the ModelVersion controller: from the
// start where the cluster has them, and otherwise from when they appear. They
// are in a cache of their own, since one that is to hold a kind that is absent
// would end the operator.
type argoReconciler struct {
	mgr      ctrl.Manager
	versions *ModelVersionReconciler
	// controller is the ModelVersion controller.
	controller controller.Controller
	// changed tells that controller that Argo has come or gone.
	changed chan event.GenericEvent
	// cache holds Argo's objects, once they are watched.
	cache atomic.Pointer[cache.Cache]
	// gone says that the kinds are no longer there.
	gone atomic.Bool
}

// reader reads Argo's objects from the cache; nil while the cluster does not
// have their kinds.
func (a *argoReconciler) reader() client.Reader {
	if c := a.cache.Load(); c != nil && !a.gone.Load() {
		return *c
	}
	return nil
}

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=list;watch

// Reconcile is called when a CRD of Argo's has appeared, changed or gone.
func (a *argoReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	before := a.reader() != nil
	there, err := a.versions.argoInstalled(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if there {
		served, err := a.served()
		if err != nil {
			return ctrl.Result{}, err
		}
		if !served {
			// A new CRD is served a moment after it was made, which no event says.
			return ctrl.Result{}, errors.New("the API server does not serve Argo's kinds yet")
		}
		if err := a.watch(ctx); err != nil {
			return ctrl.Result{}, err
		}
	}
	a.gone.Store(!there)
	if before == there {
		return ctrl.Result{}, nil
	}
	select {
	case a.changed <- event.GenericEvent{Object: &v1alpha1.ModelVersion{}}:
	case <-ctx.Done():
	}
	return ctrl.Result{}, nil
}

// argoInstalled says whether the cluster has the CRDs of Argo's kinds.
func (r *ModelVersionReconciler) argoInstalled(ctx context.Context) (bool, error) {
	for _, name := range argoCRDs {
		err := r.Client.Get(ctx, client.ObjectKey{Name: name}, crdMetadata())
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("get CRD %s: %w", name, err)
		}
	}
	return true, nil
}

// served says whether the API server serves all of Argo's kinds.
func (a *argoReconciler) served() (bool, error) {
	for _, kind := range argoKinds {
		_, err := a.mgr.GetRESTMapper().RESTMapping(kind, wfv1.SchemeGroupVersion.Version)
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look for Argo's kind %s: %w", kind.Kind, err)
		}
	}
	return true, nil
}

// watch begins to watch Argo's kinds, if it has not begun yet.
func (a *argoReconciler) watch(ctx context.Context) error {
	if a.cache.Load() != nil {
		return nil
	}
	c, err := cache.New(a.mgr.GetConfig(), argoCacheOptions(a.mgr))
	if err != nil {
		return fmt.Errorf("set up the cache of Argo's kinds: %w", err)
	}
	if err := c.IndexField(ctx, &wfv1.Workflow{}, indexOwner, controllerUID); err != nil {
		return err
	}
	if err := a.mgr.Add(c); err != nil {
		return err
	}
	owner := handler.EnqueueRequestForOwner(a.mgr.GetScheme(), a.mgr.GetRESTMapper(), &v1alpha1.ModelVersion{}, handler.OnlyControllerOwner())
	workflows := source.Kind[client.Object](c, &wfv1.Workflow{}, owner, exceptOwnCreates())
	templates := source.Kind[client.Object](c, templateMetadata(), handler.EnqueueRequestsFromMapFunc(a.versions.versionsOfTemplate), predicate.LabelChangedPredicate{})
	for _, each := range []source.Source{workflows, templates} {
		if err := a.controller.Watch(each); err != nil {
			return fmt.Errorf("watch Argo's kinds: %w", err)
		}
	}
	a.cache.Store(&c)
	return nil
}

// argoCacheOptions limits what is kept in memory of Argo's objects to
// Workflows that build versions. Their labels survive a resubmit, so nothing is
// missed.
func argoCacheOptions(mgr ctrl.Manager) cache.Options {
	ours, err := labels.NewRequirement(v1alpha1.LabelModelVersionUID, selection.Exists, nil)
	if err != nil {
		panic(err) // The label is a constant.
	}
	return cache.Options{
		Scheme:           mgr.GetScheme(),
		Mapper:           mgr.GetRESTMapper(),
		HTTPClient:       mgr.GetHTTPClient(),
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&wfv1.Workflow{}: {Label: labels.NewSelector().Add(*ours), Transform: stripWorkflow},
		},
	}
}

// stripWorkflow drops what a cached Workflow carries of its template. Cached
// Workflows are never written back.
func stripWorkflow(object any) (any, error) {
	if wf, ok := object.(*wfv1.Workflow); ok {
		wf.ManagedFields = nil
		wf.Status.StoredTemplates = nil
		wf.Status.StoredWorkflowSpec = nil
	}
	return object, nil
}

// controllerUID is what Workflows are indexed by: who controls them.
func controllerUID(o client.Object) []string {
	if owner := metav1.GetControllerOf(o); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

// setup watches Argo's kinds where they are there, and for their appearance.
func (a *argoReconciler) setup() error {
	served, err := a.served()
	if err != nil {
		return err
	}
	if served {
		ctx := context.Background() //nolint:forbidigo // The manager has no context yet, and indexing waits for nothing.
		if err := a.watch(ctx); err != nil {
			return err
		}
	}
	changed := source.Channel(a.changed, handler.EnqueueRequestsFromMapFunc(a.versions.unfinished))
	if err := a.controller.Watch(changed); err != nil {
		return err
	}
	once := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	return ctrl.NewControllerManagedBy(a.mgr).
		Named("argo").
		WatchesMetadata(crdMetadata(), once, builder.WithPredicates(argosCRD)).
		Complete(a)
}

// crdMetadata is a CRD of which only the metadata is read and cached.
func crdMetadata() *metav1.PartialObjectMetadata {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return crd
}

// argosCRD lets the CRDs of the kinds that are watched through.
var argosCRD = predicate.NewPredicateFuncs(func(o client.Object) bool {
	return slices.Contains(argoCRDs, o.GetName())
})
