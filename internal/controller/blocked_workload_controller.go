package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// BlockedWorkloadReconciler annotates the workloads whose pods were rejected because
// their ModelVersion had no image, when it is Ready. The workload controllers of
// Kubernetes back off for up to a quarter of an hour before they create the pods
// again, and retry at once when the workload changes. The annotation is the change.
type BlockedWorkloadReconciler struct {
	// Client reads ModelVersions and Models from the cache, and writes.
	Client client.Client
	// Live reads workloads, which are not cached, from the API server.
	Live client.Reader
	// Recorder emits events.
	Recorder events.EventRecorder
	// Passes knows the passes that run.
	Passes *Passes
	// Now is the clock.
	Now func() time.Time
}

// The annotation is patched through the status, which does not permit the operator
// to change what a workload runs.
//
// +kubebuilder:rbac:groups=apps,resources=replicasets;statefulsets;daemonsets,verbs=list,roleName=modelkiln-serving
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=list,roleName=modelkiln-serving
// +kubebuilder:rbac:groups=apps,resources=replicasets/status;statefulsets/status;daemonsets/status,verbs=patch,roleName=modelkiln-serving
// +kubebuilder:rbac:groups=batch,resources=jobs/status,verbs=patch,roleName=modelkiln-serving

// reasonModelReady is the reason of the event on an annotated workload.
const reasonModelReady = "ModelReady"

// Reconcile annotates the workloads that one ModelVersion has blocked. A ModelVersion
// that has been Ready for a long time costs nothing, and one that became Ready
// shortly before the operator started is not missed.
func (r *BlockedWorkloadReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var mv v1alpha1.ModelVersion
	if err := r.Client.Get(ctx, req.NamespacedName, &mv); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !workload.BecameReady(&mv, r.Now()) {
		return ctrl.Result{}, nil
	}
	aliases, err := r.aliases(ctx, &mv)
	if err != nil {
		return ctrl.Result{}, err
	}
	var failed []error
	for _, kind := range []client.ObjectList{&appsv1.ReplicaSetList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &batchv1.JobList{}} {
		err := r.unblock(ctx, kind, &mv, aliases)
		if apierrors.IsForbidden(err) {
			// Kubernetes creates the pods later without the annotation.
			ctrl.LoggerFrom(ctx).Info("No permission to annotate workloads whose pods were rejected; the component deploy/components/serving grants it", "cause", err.Error())
			continue
		}
		failed = append(failed, err)
	}
	return resultFor(errors.Join(failed...))
}

// aliases returns the aliases that stand for a ModelVersion, and "" if it is its Model's
// latest. If it gets another one later, the Model's change causes another pass.
func (r *BlockedWorkloadReconciler) aliases(ctx context.Context, mv *v1alpha1.ModelVersion) (map[string]bool, error) {
	var model v1alpha1.Model
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}, &model)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Model %q: %w", mv.Spec.ModelName, err)
	}
	latest := model.Status.LatestVersion
	aliases := map[string]bool{"": latest != nil && latest.ModelVersion == mv.Name}
	for _, alias := range model.Status.Aliases {
		aliases[alias.Name] = alias.Version == mv.Name
	}
	return aliases, nil
}

// unblock annotates the blocked workloads of one kind. One that cannot be annotated
// does not prevent the others.
func (r *BlockedWorkloadReconciler) unblock(ctx context.Context, kind client.ObjectList, mv *v1alpha1.ModelVersion, aliases map[string]bool) error {
	var failed []error
	err := listPages(ctx, r.Live, kind, mv.Namespace, func(page client.ObjectList) {
		failed = append(failed, meta.EachListItem(page, func(object runtime.Object) error {
			if blocked := object.(client.Object); workload.IsBlocked(blocked, mv, aliases) {
				failed = append(failed, r.annotate(ctx, blocked, mv))
			}
			return nil
		}))
	})
	return errors.Join(append(failed, err)...)
}

// annotate annotates a blocked workload.
func (r *BlockedWorkloadReconciler) annotate(ctx context.Context, blocked client.Object, mv *v1alpha1.ModelVersion) error {
	before := blocked.DeepCopyObject().(client.Object)
	annotations := blocked.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationModelReady] = workload.ReadyMark(mv)
	blocked.SetAnnotations(annotations)
	if err := client.IgnoreNotFound(r.Client.Status().Patch(ctx, blocked, client.MergeFrom(before))); err != nil {
		return fmt.Errorf("annotate %T %q: %w", blocked, blocked.GetName(), err)
	}
	ctrl.LoggerFrom(ctx).Info("Annotated workload, whose ModelVersion is Ready", "kind", fmt.Sprintf("%T", blocked), "workload", blocked.GetName())
	r.Recorder.Eventf(blocked, mv, corev1.EventTypeNormal, reasonModelReady, "Serve", "ModelVersion %s is Ready; pods that serve it can now be created", mv.Name)
	return nil
}

// SetupWithManager registers the reconciler and its watches.
func (r *BlockedWorkloadReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("blocked-workload").
		For(&v1alpha1.ModelVersion{}).
		Watches(&v1alpha1.Model{}, handler.EnqueueRequestsFromMapFunc(servedOfModel)).
		Complete(known(r.Passes, "blocked-workload", r))
}

// servedOfModel returns the latest ModelVersion of a Model, and those of its aliases.
func servedOfModel(_ context.Context, o client.Object) []reconcile.Request {
	model := o.(*v1alpha1.Model)
	names := sets.New[string]()
	if latest := model.Status.LatestVersion; latest != nil {
		names.Insert(latest.ModelVersion)
	}
	for _, alias := range model.Status.Aliases {
		names.Insert(alias.Version)
	}
	var served []reconcile.Request
	for name := range names.Delete("") {
		served = append(served, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: model.Namespace, Name: name}})
	}
	return served
}
