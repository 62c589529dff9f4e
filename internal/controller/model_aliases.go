package controller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// aliases decides about the aliases of a Model, creates and deletes the Workflows that move
// their tags, and returns their status. If the API server rejects a Workflow, the status
// says so, and the pass is to be repeated.
func (r *ModelReconciler) aliases(ctx context.Context, model *v1alpha1.Model, versions []v1alpha1.ModelVersion) (aliases []v1alpha1.AliasStatus, rejected, err error) {
	if len(model.Spec.Aliases) == 0 && len(model.Status.Aliases) == 0 {
		return nil, nil, nil
	}
	observed, err := r.observeAliases(ctx, model)
	if err != nil {
		return nil, nil, err
	}
	workflows, err := r.observeTags(ctx, &observed, versions)
	if err != nil {
		return nil, nil, err
	}
	return r.act(ctx, model, lifecycle.NextAliases(observed, r.Options), workflows)
}

// observeAliases reads, from the caches, what the aliases of a Model depend on, but for
// their tags.
func (r *ModelReconciler) observeAliases(ctx context.Context, model *v1alpha1.Model) (lifecycle.ObservedAliases, error) {
	observed := lifecycle.ObservedAliases{
		Model:    model,
		Versions: map[string]*v1alpha1.ModelVersion{},
		Now:      metav1.NewTime(r.Now()).Rfc3339Copy(),
	}
	for _, alias := range model.Spec.Aliases {
		mv := &v1alpha1.ModelVersion{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: model.Namespace, Name: alias.Version}, mv)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return observed, fmt.Errorf("get ModelVersion %q: %w", alias.Version, err)
		}
		observed.Versions[mv.Name] = mv
	}
	var err error
	observed.Pods, err = r.servingPods(ctx, model)
	return observed, err
}

// servingPods counts the pods of each alias of a Model by the digest that they serve.
func (r *ModelReconciler) servingPods(ctx context.Context, model *v1alpha1.Model) (map[string]map[string]int32, error) {
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(podMetadata().GroupVersionKind())
	if err := r.Serving.List(ctx, pods, client.InNamespace(model.Namespace), client.MatchingFields{indexServedModel: model.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the pods that serve an alias: %w", err)
	}
	counts := map[string]map[string]int32{}
	for i := range pods.Items {
		alias := pods.Items[i].Labels[v1alpha1.LabelServeAlias]
		if counts[alias] == nil {
			counts[alias] = map[string]int32{}
		}
		counts[alias][workload.ServedDigest(&pods.Items[i])]++
	}
	return counts, nil
}

// aliasVersions returns the index values of a Model: the ModelVersions that its aliases
// name.
func aliasVersions(o client.Object) []string {
	versions := sets.New[string]()
	for _, alias := range o.(*v1alpha1.Model).Spec.Aliases {
		versions.Insert(alias.Version)
	}
	return versions.UnsortedList()
}

// modelsOfAliasVersion returns the Models whose aliases name a ModelVersion.
func (r *ModelReconciler) modelsOfAliasVersion(ctx context.Context, mv client.Object) []reconcile.Request {
	var list v1alpha1.ModelList
	if err := r.Client.List(ctx, &list, client.InNamespace(mv.GetNamespace()), client.MatchingFields{indexAliasVersion: mv.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the Models with an alias for a ModelVersion")
		return nil
	}
	var models []reconcile.Request
	for i := range list.Items {
		models = append(models, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return models
}

// modelOfServingPod returns the Model of which a pod serves an alias.
func modelOfServingPod(_ context.Context, pod client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelServeModel]}}}
}
