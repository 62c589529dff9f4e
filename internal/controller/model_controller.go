package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// ModelReconciler keeps the latest ModelVersion, and the aliases, in the status of a
// Model. It is the only writer of that status.
type ModelReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Serving caches the pods that serve an alias.
	Serving cache.Cache
	// Passes knows the passes that run.
	Passes *Passes
	// Now is the clock of promotions.
	Now func() time.Time
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
	if err := r.Client.List(ctx, &versions, client.InNamespace(model.Namespace), client.MatchingFields{indexModelName: model.Name}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ModelVersions: %w", err)
	}
	observed, err := r.observeAliases(ctx, &model)
	if err != nil {
		return ctrl.Result{}, err
	}
	before := model.DeepCopy()
	model.Status.LatestVersion = lifecycle.Latest(versions.Items)
	model.Status.Aliases = lifecycle.NextAliases(observed)
	if equality.Semantic.DeepEqual(before.Status, model.Status) {
		return ctrl.Result{}, nil
	}
	// This reconciler is the only writer, but with a stale cache it could still undo
	// the result of a later pass: the lock prevents that.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, &model, patch); err != nil {
		return resultFor(fmt.Errorf("patch status: %w", err))
	}
	return ctrl.Result{}, nil
}

// SetupWithManager registers the reconciler and its watches.
func (r *ModelReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("model").
		For(&v1alpha1.Model{}).
		Watches(&v1alpha1.ModelVersion{}, handler.EnqueueRequestsFromMapFunc(modelOfVersion)).
		WatchesRawSource(source.Kind[client.Object](r.Serving, podMetadata(), handler.EnqueueRequestsFromMapFunc(modelOfServingPod), predicate.LabelChangedPredicate{})).
		Complete(known(r.Passes, "model", r))
}

// modelOfVersion returns the Model of a ModelVersion.
func modelOfVersion(_ context.Context, o client.Object) []reconcile.Request {
	mv := o.(*v1alpha1.ModelVersion)
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}}}
}
