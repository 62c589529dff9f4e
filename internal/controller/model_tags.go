package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/apierr"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// observeTags reads what the registry tags of the aliases depend on, among it the
// ModelVersions of the Model, and returns the metadata of the Workflows that move its tags.
func (r *ModelReconciler) observeTags(ctx context.Context, observed *lifecycle.ObservedAliases, versions []v1alpha1.ModelVersion) ([]metav1.PartialObjectMetadata, error) {
	argo := r.Argo()
	observed.ArgoMissing, observed.Tags = argo == nil, map[string]lifecycle.ObservedTag{}
	var workflows []metav1.PartialObjectMetadata
	if argo != nil {
		list := metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(argoKinds[0].GroupVersion().WithKind("WorkflowList"))
		if err := argo.List(ctx, &list, client.InNamespace(observed.Model.Namespace), client.MatchingFields{indexOwner: string(observed.Model.UID)}); err != nil {
			return nil, fmt.Errorf("list Workflows: %w", err)
		}
		workflows = list.Items
	}
	lacking := false
	for _, alias := range observed.Model.Spec.Aliases {
		if !alias.Tag {
			continue
		}
		state := lifecycle.AliasOf(observed.Model, alias.Name)
		tag, err := r.observeTag(ctx, state, workflows)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(versions, func(mv v1alpha1.ModelVersion) bool { return mv.Spec.ImageTag == alias.Name }); i >= 0 {
			tag.TaggedVersion = versions[i].Name
		}
		observed.Tags[alias.Name] = tag
		lacking = lacking || lifecycle.LacksTagWorkflow(state, tag)
	}
	if argo == nil || !lacking {
		return workflows, nil
	}
	return workflows, r.observeTemplate(ctx, argo, observed)
}

// observeTag reads the Workflow that moves the tag of one alias.
func (r *ModelReconciler) observeTag(ctx context.Context, state *v1alpha1.AliasStatus, workflows []metav1.PartialObjectMetadata) (lifecycle.ObservedTag, error) {
	observed := lifecycle.ObservedTag{}
	newest := newestOf(workflows, state)
	if newest == nil {
		return observed, nil
	}
	observed.Workflow = withoutContent(*newest)
	if !observed.Workflow.Status.Phase.Completed() || state.Tag.Digest != "" {
		return observed, nil
	}
	wf, err := r.reader.get(ctx, client.ObjectKeyFromObject(newest))
	var invalid errInvalidWorkflow
	switch {
	case apierrors.IsNotFound(err):
		observed.Workflow = nil
	case errors.As(err, &invalid):
		// Without its content, it proves nothing.
	case err != nil:
		return observed, fmt.Errorf("get Workflow %q: %w", newest.Name, err)
	default:
		observed.Workflow = wf
	}
	return observed, nil
}

// newestOf returns the newest Workflow that moves the tag of an alias to its present
// ModelVersion, or nil: the one that the status names, or a resubmit of it. Of two that
// were created in the same second, it is the resubmit, which has the longer name.
func newestOf(workflows []metav1.PartialObjectMetadata, alias *v1alpha1.AliasStatus) *metav1.PartialObjectMetadata {
	var newest *metav1.PartialObjectMetadata
	for i := range workflows {
		wf := &workflows[i]
		if !movesTag(wf.Name, *alias) || !wf.DeletionTimestamp.IsZero() {
			continue
		}
		if newest == nil || cmp.Or(wf.CreationTimestamp.Compare(newest.CreationTimestamp.Time), cmp.Compare(wf.Name, newest.Name)) > 0 {
			newest = wf
		}
	}
	return newest
}

func movesTag(name string, alias v1alpha1.AliasStatus) bool {
	return alias.Tag != nil && workflow.IsOfPromotion(name, alias.Tag.Workflow)
}

// observeTemplate reads what a Workflow that is to be created depends on.
func (r *ModelReconciler) observeTemplate(ctx context.Context, argo client.Reader, observed *lifecycle.ObservedAliases) error {
	err := argo.Get(ctx, client.ObjectKey{Name: contract.PromoteTemplate}, templateMetadata())
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get ClusterWorkflowTemplate: %w", err)
	}
	if observed.TemplateMissing = err != nil; observed.TemplateMissing {
		return nil
	}
	observed.UserAssigned, err = assignsUsers(ctx, r.Live, observed.Model.Namespace)
	return err
}

// act creates the Workflows of a step, and deletes those of earlier promotions: users
// could start them again, and move a tag back. It returns the status that is true then. If
// the API server rejects a Workflow, the status says so, and the pass is to be repeated.
func (r *ModelReconciler) act(ctx context.Context, model *v1alpha1.Model, step lifecycle.AliasStep, workflows []metav1.PartialObjectMetadata) (aliases []v1alpha1.AliasStatus, rejected, err error) {
	superseded := supersededBy(step.Status, workflows)
	if len(step.Create) == 0 && len(superseded) == 0 {
		return step.Status, nil, nil
	}
	if err := r.ensureFresh(ctx, model); err != nil {
		return nil, nil, err
	}
	for i := range superseded {
		wf := &superseded[i]
		if err := r.Client.Delete(ctx, wf, client.Preconditions{UID: &wf.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("delete Workflow %q: %w", wf.Name, err)
		}
	}
	for i, alias := range step.Status {
		wf := step.Create[alias.Name]
		if wf == nil {
			continue
		}
		err := r.create(ctx, model, wf)
		switch {
		case errors.Is(err, errNameTaken):
			step.Status[i] = lifecycle.TagNameConflict(alias, wf)
		case apierr.IsRejected(err):
			step.Status[i], rejected = lifecycle.TagRejected(alias, err.Error()), err
		case err != nil:
			return nil, nil, err
		}
	}
	return step.Status, rejected, nil
}

// supersededBy returns the Workflows that move tags as no alias asks for any more.
func supersededBy(aliases []v1alpha1.AliasStatus, workflows []metav1.PartialObjectMetadata) []metav1.PartialObjectMetadata {
	var superseded []metav1.PartialObjectMetadata
	for _, wf := range workflows {
		wanted := slices.ContainsFunc(aliases, func(alias v1alpha1.AliasStatus) bool { return movesTag(wf.Name, alias) })
		if wf.Labels[v1alpha1.LabelAlias] != "" && !wanted && wf.DeletionTimestamp.IsZero() {
			superseded = append(superseded, wf)
		}
	}
	return superseded
}

// ensureFresh returns a conflict if the cached Model is stale.
func (r *ModelReconciler) ensureFresh(ctx context.Context, model *v1alpha1.Model) error {
	live := metadataOf(v1alpha1.GroupVersion.WithKind("Model"))
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(model), live); err != nil {
		return fmt.Errorf("get Model %q: %w", model.Name, err)
	}
	if live.ResourceVersion != model.ResourceVersion {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("models").GroupResource(), model.Name, errors.New("the cache is behind"))
	}
	return nil
}

// errNameTaken is the error of a Workflow whose name another one has that the Model does
// not control.
var errNameTaken = errors.New("a Workflow with this name does not belong to the Model")

// create creates a Workflow, unless an earlier pass has created it and the cache does not
// show it yet.
func (r *ModelReconciler) create(ctx context.Context, model *v1alpha1.Model, wf *wfv1.Workflow) error {
	if _, err := r.Namespaces.prepare(ctx, model.Namespace); err != nil {
		return err
	}
	err := r.Client.Create(ctx, wf)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created Workflow", "Workflow", klog.KObj(wf))
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Workflow %q: %w", wf.Name, err)
	}
	existing := metadataOf(argoKinds[0])
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wf), existing); err != nil {
		return fmt.Errorf("get Workflow %q: %w", wf.Name, err)
	}
	if !metav1.IsControlledBy(existing, model) {
		return errNameTaken
	}
	return nil
}

// watchArgo watches Argo's objects in a cache.
func (r *ModelReconciler) watchArgo(mgr ctrl.Manager, c cache.Cache) error {
	toOwner := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.Model{}, handler.OnlyControllerOwner())
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == contract.PromoteTemplate })
	for _, kind := range []source.Source{
		source.Kind[client.Object](c, metadataOf(argoKinds[0]), toOwner),
		source.Kind[client.Object](c, templateMetadata(), handler.EnqueueRequestsFromMapFunc(r.modelsWithTags), ours, onlyCreates()),
	} {
		if err := r.controller.Watch(kind); err != nil {
			return fmt.Errorf("watch Argo's kinds: %w", err)
		}
	}
	return nil
}

// requeueWithTags requeues all Models with tags: Argo's kinds have become present or
// absent.
func (r *ModelReconciler) requeueWithTags(ctx context.Context) {
	select {
	case r.kindsChanged <- event.GenericEvent{Object: &v1alpha1.Model{}}:
	case <-ctx.Done():
	}
}

// modelsWithTags returns the Models whose tags may wait for Argo or the template.
func (r *ModelReconciler) modelsWithTags(ctx context.Context, _ client.Object) []reconcile.Request {
	var list v1alpha1.ModelList
	if err := r.Client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the Models whose tags may wait for Argo")
		return nil
	}
	var waiting []reconcile.Request
	for i := range list.Items {
		if slices.ContainsFunc(list.Items[i].Spec.Aliases, func(alias v1alpha1.Alias) bool { return alias.Tag }) {
			waiting = append(waiting, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return waiting
}
