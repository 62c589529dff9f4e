package controller

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// WaitingReconciler tells the workloads whose pods were refused for want of a
// version's image that there is one now: their controllers wait for up to a
// quarter of an hour before they try again, and look at once when their workload
// has changed. An annotation is the change.
type WaitingReconciler struct {
	// Client reads versions and Models from the cache, and writes.
	Client client.Client
	// Live reads workloads, which are not kept in memory, from the API server.
	Live client.Reader
	// Recorder emits events.
	Recorder events.EventRecorder
	// Now is the clock.
	Now func() time.Time
}

// The annotation is written as a part of the status: who may patch that cannot
// change what a workload runs.
//
// +kubebuilder:rbac:groups=apps,resources=replicasets;statefulsets;daemonsets,verbs=list
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=list
// +kubebuilder:rbac:groups=apps,resources=replicasets/status;statefulsets/status;daemonsets/status,verbs=patch
// +kubebuilder:rbac:groups=batch,resources=jobs/status,verbs=patch

// reasonModelReady is the reason of the event on a workload that was told.
const reasonModelReady = "ModelReady"

// Reconcile tells the workloads that wait for one version. A version that has been
// Ready for long costs nothing, and one that was Ready before the operator started
// is not forgotten.
func (r *WaitingReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var mv v1alpha1.ModelVersion
	if err := r.Client.Get(ctx, req.NamespacedName, &mv); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !workload.BecameReady(&mv, r.Now()) {
		return ctrl.Result{}, nil
	}
	isLatest, err := r.isLatest(ctx, &mv)
	if err != nil {
		return ctrl.Result{}, err
	}
	for _, list := range []client.ObjectList{&appsv1.ReplicaSetList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &batchv1.JobList{}} {
		if err := r.tell(ctx, list, &mv, isLatest); err != nil {
			return resultFor(err)
		}
	}
	return ctrl.Result{}, nil
}

// isLatest says whether a version is its Model's latest. When it becomes that
// later, the Model's change causes another pass.
func (r *WaitingReconciler) isLatest(ctx context.Context, mv *v1alpha1.ModelVersion) (bool, error) {
	var model v1alpha1.Model
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}, &model)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Model %q: %w", mv.Spec.ModelName, err)
	}
	latest := model.Status.LatestVersion
	return latest != nil && latest.ModelVersion == mv.Name, nil
}

// tell tells the workloads of one kind.
func (r *WaitingReconciler) tell(ctx context.Context, list client.ObjectList, mv *v1alpha1.ModelVersion, isLatest bool) error {
	if err := r.Live.List(ctx, list, client.InNamespace(mv.Namespace)); err != nil {
		return fmt.Errorf("list workloads: %w", err)
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("list workloads: %w", err)
	}
	for _, object := range objects {
		target := object.(client.Object)
		if !workload.IsBlocked(target, mv, isLatest) {
			continue
		}
		before := target.DeepCopyObject().(client.Object)
		annotations := target.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[v1alpha1.AnnotationModelReady] = workload.ReadyMark(mv)
		target.SetAnnotations(annotations)
		if err := client.IgnoreNotFound(r.Client.Status().Patch(ctx, target, client.MergeFrom(before))); err != nil {
			return fmt.Errorf("annotate %T %q: %w", target, target.GetName(), err)
		}
		ctrl.LoggerFrom(ctx).Info("Told a workload that its model is ready", "kind", fmt.Sprintf("%T", target), "workload", target.GetName())
		r.Recorder.Eventf(target, mv, corev1.EventTypeNormal, reasonModelReady, "Serve", "ModelVersion %s, which the pods serve, is Ready: they can be made", mv.Name)
	}
	return nil
}

// SetupWithManager registers the reconciler and what it watches.
func (r *WaitingReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("waiting").
		For(&v1alpha1.ModelVersion{}).
		Watches(&v1alpha1.Model{}, handler.EnqueueRequestsFromMapFunc(latestOfModel)).
		Complete(r)
}

func latestOfModel(_ context.Context, o client.Object) []reconcile.Request {
	latest := o.(*v1alpha1.Model).Status.LatestVersion
	if latest == nil {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: latest.ModelVersion}}}
}
