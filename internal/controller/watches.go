package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
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

// passTimeout limits a pass that waits for a cache which cannot be filled, because
// a permission is missing or a kind is gone.
const passTimeout = time.Minute

// Workers is how many ModelVersions are looked at at the same time. A pass mostly waits
// for the API server, and one that takes long delays no other.
const Workers = 16

// SetupWithManager registers the reconciler and its watches. The kinds that the
// cluster may not have are added later, by KindWatchers.
func (r *ModelVersionReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := indexFields(ctx, mgr); err != nil {
		return err
	}
	r.kindsChanged = make(chan event.GenericEvent)
	r.reader.live = r.Live
	changed := predicate.Or(predicate.GenerationChangedPredicate{}, rebuildRequested(), detached())
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("modelversion").
		For(&v1alpha1.ModelVersion{}, builder.WithPredicates(changed)).
		Watches(&v1alpha1.Model{}, handler.EnqueueRequestsFromMapFunc(r.versionsOfModel), builder.WithPredicates(onlyDeletes())).
		Watches(&v1alpha1.Model{}, handler.EnqueueRequestsFromMapFunc(r.nextVersions), builder.WithPredicates(latestChanged())).
		Watches(&corev1.Event{}, handler.EnqueueRequestsFromMapFunc(r.versionOfEvent)).
		WatchesRawSource(source.Kind[client.Object](r.Attach, &corev1.Event{}, handler.EnqueueRequestsFromMapFunc(r.versionOfEvent))).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.versionOfPod), builder.WithPredicates(predicate.Or(gatesChanged(), deletionChanged()))).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.versionOfFailingPod), builder.WithPredicates(onlyCreates())).
		WatchesRawSource(source.Kind[client.Object](r.Training, &corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(versionOfTrainingPod))).
		WatchesRawSource(source.Channel(r.kindsChanged, handler.EnqueueRequestsFromMapFunc(r.unfinishedVersions))).
		WithOptions(controller.Options{ReconciliationTimeout: passTimeout, MaxConcurrentReconciles: Workers}).
		Build(known(r.Passes, "modelversion", r))
	if err != nil {
		return err
	}
	r.controller = c
	return nil
}

// watchArgo watches Argo's objects in a cache.
func (r *ModelVersionReconciler) watchArgo(mgr ctrl.Manager, c cache.Cache) error {
	toOwner := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.ModelVersion{}, handler.OnlyControllerOwner())
	for _, kind := range []source.Source{
		source.Kind[client.Object](c, metadataOf(argoKinds[0]), first(toOwner), exceptOwnCreates()),
		source.Kind[client.Object](c, templateMetadata(), handler.EnqueueRequestsFromMapFunc(r.versionsOfTemplate), predicate.LabelChangedPredicate{}),
	} {
		if err := r.controller.Watch(kind); err != nil {
			return fmt.Errorf("watch Argo's kinds: %w", err)
		}
	}
	return nil
}

// watchTraining watches the workloads of a training kind.
func (r *ModelVersionReconciler) watchTraining(kind schema.GroupVersionKind) error {
	toVersions := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, workload client.Object) []reconcile.Request {
		return r.versionsTrainedBy(ctx, kind, client.InNamespace(workload.GetNamespace()), client.MatchingFields{indexTrainedBy: workload.GetName()})
	})
	for _, s := range []source.Source{source.Kind[client.Object](r.Training, metadataOf(kind), toVersions), r.listed(kind)} {
		if err := r.controller.Watch(s); err != nil {
			return fmt.Errorf("watch the kind %s: %w", kind.GroupKind(), err)
		}
	}
	return nil
}

// listed is the source of an event when the cache has listed the workloads of a kind. A
// pass before that may have read one that was deleted since, for which there is no event.
func (r *ModelVersionReconciler) listed(kind schema.GroupVersionKind) source.Source {
	return source.Func(func(ctx context.Context, q queue) error {
		go func() {
			// It waits until the cache has them, or the operator stops.
			if _, err := r.Training.GetInformer(ctx, metadataOf(kind)); err != nil {
				return
			}
			for _, request := range r.versionsTrainedBy(ctx, kind) {
				q.Add(request)
			}
		}()
		return nil
	})
}

// requeueUnfinished requeues all ModelVersions that are not finished: a kind that
// they may depend on has become present or absent.
func (r *ModelVersionReconciler) requeueUnfinished(ctx context.Context) {
	select {
	case r.kindsChanged <- event.GenericEvent{Object: &v1alpha1.ModelVersion{}}:
	case <-ctx.Done():
	}
}

// indexFields indexes what the manager's cache holds, so that the cost of a pass does not
// grow with the number of objects in the namespace or of the Model.
func indexFields(ctx context.Context, mgr ctrl.Manager) error {
	indexer := mgr.GetFieldIndexer()
	if err := indexEvents(ctx, indexer); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &corev1.Pod{}, indexPodWorkflow, func(o client.Object) []string {
		return nonEmpty(o.GetLabels()[labelWorkflow])
	}); err != nil {
		return err
	}
	for field, value := range map[string]func(*v1alpha1.ModelVersion) string{
		indexModelName: func(mv *v1alpha1.ModelVersion) string { return mv.Spec.ModelName },
		indexQueuedOf: func(mv *v1alpha1.ModelVersion) string {
			if lifecycle.IsQueued(mv) {
				return mv.Spec.ModelName
			}
			return ""
		},
		indexTrainedBy: func(mv *v1alpha1.ModelVersion) string { return ptr.Deref(mv.Spec.TrainedBy, v1alpha1.Workload{}).Name },
	} {
		indexed := func(o client.Object) []string { return nonEmpty(value(o.(*v1alpha1.ModelVersion))) }
		if err := indexer.IndexField(ctx, &v1alpha1.ModelVersion{}, field, indexed); err != nil {
			return err
		}
	}
	return nil
}

// nonEmpty returns the values of an index for a field.
func nonEmpty(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// indexEvents indexes cached events by the object that they are about.
func indexEvents(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &corev1.Event{}, indexEventObject, func(o client.Object) []string {
		return []string{string(o.(*corev1.Event).InvolvedObject.UID)}
	})
}

// controllerUID returns the index value of a Workflow: the UID of its controller.
func controllerUID(o client.Object) []string {
	if owner := metav1.GetControllerOf(o); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

// versionsOfModel returns the ModelVersions that may wait until a Model is deleted.
func (r *ModelVersionReconciler) versionsOfModel(ctx context.Context, model client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	err := r.Client.List(ctx, &list, client.InNamespace(model.GetNamespace()), client.MatchingFields{indexModelName: model.GetName()})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the ModelVersions of a deleted Model")
		return nil
	}
	return requests(list.Items)
}

// maxNextVersions is how many queued ModelVersions are looked at when their Model has a
// new latest one. Argo starts the oldest first; to look at all of them each time would
// cost a write for each pair.
const maxNextVersions = 2

// nextVersions returns the ModelVersions of a Model whose Workflows Argo starts next: they
// can reuse the image of the latest.
func (r *ModelVersionReconciler) nextVersions(ctx context.Context, model client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list, client.InNamespace(model.GetNamespace()), client.MatchingFields{indexQueuedOf: model.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the ModelVersions of a Model with a new image")
		return nil
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.ModelVersion) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return requests(list.Items[:min(len(list.Items), maxNextVersions)])
}

// versionsOfTemplate returns the ModelVersions that may wait for a template. It does
// not check their conditions: the cache may not have a status that was just written.
func (r *ModelVersionReconciler) versionsOfTemplate(ctx context.Context, template client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the ModelVersions that may wait for a ClusterWorkflowTemplate")
		return nil
	}
	return requests(slices.DeleteFunc(list.Items, func(mv v1alpha1.ModelVersion) bool {
		return lifecycle.IsFinished(&mv) || workflow.TemplateName(&mv, r.Options) != template.GetName()
	}))
}

// unfinishedVersions returns all ModelVersions that are not finished.
func (r *ModelVersionReconciler) unfinishedVersions(ctx context.Context, _ client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the ModelVersions that are not finished")
		return nil
	}
	return requests(slices.DeleteFunc(list.Items, func(mv v1alpha1.ModelVersion) bool { return lifecycle.IsFinished(&mv) }))
}

// versionOfEvent returns the ModelVersion whose build pod an event is about.
func (r *ModelVersionReconciler) versionOfEvent(ctx context.Context, o client.Object) []reconcile.Request {
	ev := o.(*corev1.Event)
	var pod corev1.Pod
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ev.InvolvedObject.Namespace, Name: ev.InvolvedObject.Name}, &pod); err != nil {
		return nil
	}
	return r.versionOfPod(ctx, &pod)
}

// versionOfFailingPod returns the ModelVersion that a pod builds, if an event about its
// volumes was cached before the pod: it led to no ModelVersion then.
func (r *ModelVersionReconciler) versionOfFailingPod(ctx context.Context, pod client.Object) []reconcile.Request {
	for _, events := range []client.Reader{r.Client, r.Attach} {
		var list corev1.EventList
		if err := events.List(ctx, &list, client.InNamespace(pod.GetNamespace()), client.MatchingFields{indexEventObject: string(pod.GetUID())}, client.Limit(1)); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to list the events of a new Pod")
		}
		if len(list.Items) > 0 {
			return r.versionOfPod(ctx, pod)
		}
	}
	return nil
}

// versionOfPod returns the ModelVersion that a pod builds.
func (r *ModelVersionReconciler) versionOfPod(ctx context.Context, pod client.Object) []reconcile.Request {
	argo := r.Argo()
	if argo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	wf := metadataOf(argoKinds[0])
	if err := argo.Get(ctx, types.NamespacedName{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[labelWorkflow]}, wf); err != nil {
		return nil
	}
	owner := metav1.GetControllerOf(wf)
	if owner == nil || owner.Kind != "ModelVersion" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: wf.Namespace, Name: owner.Name}}}
}

// versionsTrainedBy returns those of the listed ModelVersions that wait for a workload of a
// kind.
func (r *ModelVersionReconciler) versionsTrainedBy(ctx context.Context, kind schema.GroupVersionKind, opts ...client.ListOption) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the ModelVersions that wait for a training workload")
		return nil
	}
	return requests(slices.DeleteFunc(list.Items, func(mv v1alpha1.ModelVersion) bool {
		awaited, waits := lifecycle.TrainedBy(&mv, r.Options)
		return !waits || awaited == nil || awaited.GroupVersionKind != kind
	}))
}

// versionOfTrainingPod returns the ModelVersion that a pod trains.
func versionOfTrainingPod(_ context.Context, pod client.Object) []reconcile.Request {
	key := client.ObjectKey{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelTrainVersion]}
	return []reconcile.Request{{NamespacedName: key}}
}

func requests(versions []v1alpha1.ModelVersion) []reconcile.Request {
	var list []reconcile.Request
	for i := range versions {
		list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&versions[i])})
	}
	return list
}
