package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
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
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// ModelReconciler keeps the latest ModelVersion, and the aliases, in the status of a
// Model. It is the only writer of that status.
type ModelReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live reads from the API server where stale data would create or delete a Workflow.
	Live client.Reader
	// Serving caches the pods that serve an alias.
	Serving cache.Cache
	// Argo returns the reader of Argo's objects, or nil while the cluster does not
	// have their kinds.
	Argo func() client.Reader
	// Namespaces prepares the namespaces of Workflows that move tags.
	Namespaces *Namespaces
	// Options are the settings of builds, which apply to these Workflows too.
	Options workflow.Options
	// Passes knows the passes that run.
	Passes *Passes
	// Now is the clock of promotions.
	Now func() time.Time

	// controller runs this reconciler, and kindsChanged is one of its sources: it
	// receives an event when Argo's kinds have become present or absent.
	// SetupWithManager sets both.
	controller   controller.Controller
	kindsChanged chan event.GenericEvent
	// reader reads Workflows.
	reader workflowReader
}

// +kubebuilder:rbac:groups=model.kubedl.io,resources=models/status,verbs=patch,roleName=modelkiln-namespaced

// Reconcile updates the status of one Model.
func (r *ModelReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var model v1alpha1.Model
	if err := r.Client.Get(ctx, req.NamespacedName, &model); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !model.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	var versions v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &versions, client.InNamespace(model.Namespace), client.MatchingFields{indexModelName: model.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ModelVersions: %w", err)
	}
	aliases, rejected, err := r.aliases(ctx, &model, versions.Items)
	if err != nil {
		return resultFor(err)
	}
	before := model.DeepCopy()
	model.Status.LatestVersion = lifecycle.Latest(versions.Items)
	model.Status.Aliases = aliases
	if equality.Semantic.DeepEqual(before.Status, model.Status) {
		return resultFor(rejected)
	}
	// This reconciler is the only writer, but with a stale cache it could still undo
	// the result of a later pass: the lock prevents that.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, &model, patch); err != nil {
		return resultFor(fmt.Errorf("patch status: %w", err))
	}
	return resultFor(rejected)
}

// latestDelay is how long after a change the latest ModelVersion is determined. A Model
// with thousands of ModelVersions, of which many are built at a time, costs ten passes a
// second at most.
const latestDelay = 100 * time.Millisecond

// SetupWithManager registers the reconciler and its watches.
func (r *ModelReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Model{}, indexAliasVersion, aliasVersions); err != nil {
		return err
	}
	r.kindsChanged = make(chan event.GenericEvent)
	r.reader.live = r.Live
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("model").
		Watches(&v1alpha1.Model{}, delayed(&handler.EnqueueRequestForObject{}, latestDelay)).
		Watches(&v1alpha1.ModelVersion{}, delayed(handler.EnqueueRequestsFromMapFunc(modelOfVersion), latestDelay), builder.WithPredicates(canBeLatest())).
		Watches(&v1alpha1.ModelVersion{}, handler.EnqueueRequestsFromMapFunc(r.modelsOfAliasVersion)).
		WatchesRawSource(source.Kind[client.Object](r.Serving, podMetadata(), delayed(handler.EnqueueRequestsFromMapFunc(modelOfServingPod), latestDelay), predicate.LabelChangedPredicate{})).
		WatchesRawSource(source.Channel(r.kindsChanged, handler.EnqueueRequestsFromMapFunc(r.modelsWithTags))).
		Build(known(r.Passes, "model", r))
	r.controller = c
	return err
}

// modelOfVersion returns the Model of a ModelVersion.
func modelOfVersion(_ context.Context, o client.Object) []reconcile.Request {
	mv := o.(*v1alpha1.ModelVersion)
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}}}
}
