package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// ModelReconciler keeps the latest ModelVersion in the status of a Model. It is the
// only writer of that status.
type ModelReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Passes knows the passes that run.
	Passes *Passes
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
	before := model.DeepCopy()
	model.Status.LatestVersion = lifecycle.Latest(versions.Items)
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

// latestDelay is how long after a change the latest ModelVersion is determined. A Model
// with thousands of ModelVersions, of which many are built at a time, costs ten passes a
// second at most.
const latestDelay = 100 * time.Millisecond

// SetupWithManager registers the reconciler and its watches.
func (r *ModelReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("model").
		Watches(&v1alpha1.Model{}, delayed(&handler.EnqueueRequestForObject{}, latestDelay)).
		Watches(&v1alpha1.ModelVersion{}, delayed(handler.EnqueueRequestsFromMapFunc(modelOfVersion), latestDelay), builder.WithPredicates(canBeLatest())).
		Complete(known(r.Passes, "model", r))
}

// modelOfVersion returns the Model of a ModelVersion.
func modelOfVersion(_ context.Context, o client.Object) []reconcile.Request {
	mv := o.(*v1alpha1.ModelVersion)
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}}}
}
