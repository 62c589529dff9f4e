package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// AddToScheme adds the kinds that the controllers read and write, beside
// Kubernetes' own.
func AddToScheme(scheme *runtime.Scheme) error {
	return errors.Join(wfv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// CacheOptions limits what the operator keeps in memory to what it looks at:
// pods of builds, the events that say why such a pod does not start, and the
// names of CRDs. Argo's objects have a cache of their own.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {Label: labels.SelectorFromSet(contract.BuildPodLabels())},
			&corev1.Event{}: {Field: fields.SelectorFromSet(fields.Set{
				"involvedObject.kind": "Pod",
				"reason":              "FailedMount",
			})},
			crdMetadata(): {Transform: onlyName},
		},
	}
}

// onlyName drops a CRD's annotations, where kubectl keeps the whole of it.
func onlyName(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetAnnotations(nil)
		o.SetManagedFields(nil)
	}
	return object, nil
}

// passTimeout ends a pass that waits for a cache which cannot be filled, since
// a right is missing or a kind has gone.
const passTimeout = time.Minute

// SetupWithManager registers the reconciler and what it watches.
func (r *ModelVersionReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if err := indexFields(mgr); err != nil {
		return err
	}
	changed := predicate.Or(predicate.GenerationChangedPredicate{}, rebuildAsked())
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("modelversion").
		For(&v1alpha1.ModelVersion{}, builder.WithPredicates(changed)).
		Watches(&v1alpha1.Model{}, handler.EnqueueRequestsFromMapFunc(r.versionsOfModel), builder.WithPredicates(onlyDeletes())).
		Watches(&corev1.Event{}, handler.EnqueueRequestsFromMapFunc(r.versionOfEvent)).
		WithOptions(controller.Options{ReconciliationTimeout: passTimeout}).
		Build(r)
	if err != nil {
		return err
	}
	argo := &argoReconciler{mgr: mgr, versions: r, controller: c, changed: make(chan event.GenericEvent)}
	r.Argo = argo.reader
	if err := argo.setup(); err != nil {
		return err
	}
	trained, err := newTrainingCache(mgr)
	if err != nil {
		return err
	}
	r.Training = trained
	carriers, err := newCarriedController(mgr, r, trained)
	if err != nil {
		return err
	}
	training := &trainingReconciler{mgr: mgr, versions: r, controller: c, carriers: carriers, changed: argo.changed, cache: trained, watched: map[schema.GroupVersionKind]bool{}}
	return training.setup()
}

// indexFields lets the cache answer which events are about which object, and
// which versions belong to a model.
func indexFields(mgr ctrl.Manager) error {
	ctx := context.Background() //nolint:forbidigo // The manager has no context yet, and indexing waits for nothing.
	indexer := mgr.GetFieldIndexer()
	if err := indexer.IndexField(ctx, &corev1.Event{}, indexEventObject, func(o client.Object) []string {
		return []string{string(o.(*corev1.Event).InvolvedObject.UID)}
	}); err != nil {
		return err
	}
	return indexer.IndexField(ctx, &v1alpha1.ModelVersion{}, indexModelName, func(o client.Object) []string {
		return []string{o.(*v1alpha1.ModelVersion).Spec.ModelName}
	})
}

// versionsOfModel are the versions that may wait for a Model to be gone.
func (r *ModelVersionReconciler) versionsOfModel(ctx context.Context, model client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	err := r.Client.List(ctx, &list, client.InNamespace(model.GetNamespace()), client.MatchingFields{indexModelName: model.GetName()})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not list the versions of a deleted Model")
		return nil
	}
	return requests(list.Items)
}

// versionsOfTemplate are the versions that may wait for a template. That they
// do is not asked: a status that says so may have been written a moment ago,
// and not be in the cache yet.
func (r *ModelVersionReconciler) versionsOfTemplate(ctx context.Context, template client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not list the versions that may wait for a template")
		return nil
	}
	return requests(slices.DeleteFunc(list.Items, func(mv v1alpha1.ModelVersion) bool {
		return lifecycle.IsFinished(&mv) || workflow.TemplateName(&mv, r.Options) != template.GetName()
	}))
}

// unfinished are all versions that are not final: Argo has come or gone.
func (r *ModelVersionReconciler) unfinished(ctx context.Context, _ client.Object) []reconcile.Request {
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not list the versions that Argo matters to")
		return nil
	}
	return requests(slices.DeleteFunc(list.Items, func(mv v1alpha1.ModelVersion) bool { return lifecycle.IsFinished(&mv) }))
}

// versionOfEvent is the version whose build pod an event is about.
func (r *ModelVersionReconciler) versionOfEvent(ctx context.Context, o client.Object) []reconcile.Request {
	ev := o.(*corev1.Event)
	var pod corev1.Pod
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ev.InvolvedObject.Namespace, Name: ev.InvolvedObject.Name}, &pod); err != nil {
		return nil
	}
	argo := r.Argo()
	if argo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	var wf wfv1.Workflow
	if err := argo.Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Labels[labelWorkflow]}, &wf); err != nil {
		return nil
	}
	owner := metav1.GetControllerOf(&wf)
	if owner == nil || owner.Kind != "ModelVersion" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: wf.Namespace, Name: owner.Name}}}
}

func requests(versions []v1alpha1.ModelVersion) []reconcile.Request {
	var list []reconcile.Request
	for i := range versions {
		list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&versions[i])})
	}
	return list
}

// exceptOwnCreates drops the word that a Workflow exists which the operator
// made and Argo has not seen yet: the pass that made it has written that down.
// A resubmitted one has a generated name.
func exceptOwnCreates() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			wf, ok := e.Object.(*wfv1.Workflow)
			return !ok || wf.GenerateName != "" || wf.Status.Phase != wfv1.WorkflowUnknown
		},
	}
}

// rebuildAsked lets a version through whose rebuild annotation has changed.
func rebuildAsked() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetAnnotations()[v1alpha1.AnnotationRebuild] != e.ObjectNew.GetAnnotations()[v1alpha1.AnnotationRebuild]
		},
	}
}

func onlyDeletes() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
