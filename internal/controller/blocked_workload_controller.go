package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

	// ready are the ModelVersions of the next passes.
	ready readyVersions
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

// Reconcile annotates the workloads of one namespace that ModelVersions have blocked which
// became Ready since the last pass. ModelVersions that have been Ready for a long time
// cost nothing, and those that became Ready shortly before the operator started are not
// missed.
func (r *BlockedWorkloadReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	names := r.ready.take(req.Namespace)
	err := r.unblockAll(ctx, req.Namespace, names)
	if err != nil {
		r.ready.add(req.Namespace, names...)
	}
	return resultFor(err)
}

// unblockAll annotates the workloads of a namespace that these ModelVersions have blocked.
// The kinds are listed once for all of them.
func (r *BlockedWorkloadReconciler) unblockAll(ctx context.Context, namespace string, names []string) error {
	var unblocked workload.Unblocked
	for _, name := range names {
		var mv v1alpha1.ModelVersion
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &mv)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get ModelVersion %q: %w", name, err)
		}
		if err != nil || !workload.BecameReady(&mv, r.Now()) {
			continue
		}
		aliases, err := r.aliases(ctx, &mv)
		if err != nil {
			return err
		}
		unblocked.Add(&mv, aliases)
	}
	if unblocked.IsEmpty() {
		return nil
	}
	var failed []error
	for _, kind := range []client.ObjectList{&appsv1.ReplicaSetList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &batchv1.JobList{}} {
		err := r.unblock(ctx, kind, namespace, &unblocked)
		if apierrors.IsForbidden(err) {
			// Kubernetes creates the pods later without the annotation.
			ctrl.LoggerFrom(ctx).Info("No permission to annotate workloads whose pods were rejected; the component deploy/components/serving grants it", "cause", err.Error())
			continue
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
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
func (r *BlockedWorkloadReconciler) unblock(ctx context.Context, kind client.ObjectList, namespace string, unblocked *workload.Unblocked) error {
	var failed []error
	err := listPages(ctx, r.Live, kind, namespace, func(page client.ObjectList) {
		failed = append(failed, meta.EachListItem(page, func(object runtime.Object) error {
			blocked := object.(client.Object)
			if mv := unblocked.BlockerOf(blocked); mv != nil {
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

// unblockDelay is how long after a ModelVersion became Ready its workloads are looked for:
// each pass lists all workloads of the namespace.
const unblockDelay = time.Second

// SetupWithManager registers the reconciler and its watches.
func (r *BlockedWorkloadReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("blocked-workload").
		Watches(&v1alpha1.ModelVersion{}, delayed(handler.EnqueueRequestsFromMapFunc(r.namespaceOfReady), unblockDelay)).
		Watches(&v1alpha1.Model{}, delayed(handler.EnqueueRequestsFromMapFunc(r.namespaceOfModel), unblockDelay)).
		Complete(known(r.Passes, "blocked-workload", r))
}

// namespaceOfReady returns the namespace of a ModelVersion that has become Ready. The
// change from one Ready status to another is of no interest, and is looked at all the
// same: that is rare.
func (r *BlockedWorkloadReconciler) namespaceOfReady(_ context.Context, o client.Object) []reconcile.Request {
	if !workload.BecameReady(o.(*v1alpha1.ModelVersion), r.Now()) {
		return nil
	}
	r.ready.add(o.GetNamespace(), o.GetName())
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace()}}}
}

// namespaceOfModel returns the namespace of a Model that has a latest ModelVersion or an
// alias.
func (r *BlockedWorkloadReconciler) namespaceOfModel(_ context.Context, o client.Object) []reconcile.Request {
	status := o.(*v1alpha1.Model).Status
	names := sets.New[string]()
	if status.LatestVersion != nil {
		names.Insert(status.LatestVersion.ModelVersion)
	}
	for _, alias := range status.Aliases {
		names.Insert(alias.Version)
	}
	if names.Delete("").Len() == 0 {
		return nil
	}
	r.ready.add(o.GetNamespace(), names.UnsortedList()...)
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace()}}}
}

// readyVersions are the names of ModelVersions whose workloads the next pass looks for, by
// namespace.
type readyVersions struct {
	mu    sync.Mutex
	names map[string]sets.Set[string]
}

func (v *readyVersions) add(namespace string, names ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.names == nil {
		v.names = map[string]sets.Set[string]{}
	}
	if v.names[namespace] == nil {
		v.names[namespace] = sets.New[string]()
	}
	v.names[namespace].Insert(names...)
}

// take returns the names of a namespace, and forgets them.
func (v *readyVersions) take(namespace string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := sets.List(v.names[namespace])
	delete(v.names, namespace)
	return names
}
