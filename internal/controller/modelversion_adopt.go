package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// adopt makes the Model the owner of a new ModelVersion, after creating the Model if
// it does not exist, and restores what users have removed of a ModelVersion that it
// has adopted before. It reports whether the ModelVersion has to wait for a Model of
// that name to be deleted.
func (r *ModelVersionReconciler) adopt(ctx context.Context, mv *v1alpha1.ModelVersion) (terminating bool, err error) {
	if !lifecycle.IsDetached(mv) {
		return false, nil
	}
	model, err := r.ensureModel(ctx, mv)
	if err != nil {
		return false, err
	}
	if !lifecycle.HasJoined(mv) && !model.DeletionTimestamp.IsZero() {
		return true, nil
	}
	if err := r.complete(ctx, mv); err != nil {
		return false, err
	}
	before := mv.DeepCopy()
	lifecycle.Join(mv, model)
	if equality.Semantic.DeepEqual(before.ObjectMeta, mv.ObjectMeta) {
		return false, nil
	}
	// The lock prevents two passes from each adding an owner.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, mv, patch); err != nil {
		return false, fmt.Errorf("adopt ModelVersion %q: %w", mv.Name, err)
	}
	r.replaced.add(client.ObjectKeyFromObject(mv), before.ResourceVersion)
	return false, nil
}

// ensureModel returns the Model of the ModelVersion. If it does not exist, it is
// created for a ModelVersion that has never had one, and nil for any other.
func (r *ModelVersionReconciler) ensureModel(ctx context.Context, mv *v1alpha1.ModelVersion) (*v1alpha1.Model, error) {
	key := client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}
	var model v1alpha1.Model
	err := r.Live.Get(ctx, key, &model)
	if err == nil {
		return &model, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("get Model %q: %w", key.Name, err)
	}
	if lifecycle.HasJoined(mv) {
		return nil, nil
	}
	model = v1alpha1.Model{}
	model.Namespace, model.Name = key.Namespace, key.Name
	err = r.Client.Create(ctx, &model)
	if apierrors.IsAlreadyExists(err) {
		// The pass of another ModelVersion has just created it.
		if err := r.Live.Get(ctx, key, &model); err != nil {
			return nil, fmt.Errorf("get Model %q: %w", key.Name, err)
		}
		return &model, nil
	}
	if err != nil {
		return nil, fmt.Errorf("create Model %q: %w", key.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created Model", "Model", klog.KObj(&model))
	return &model, nil
}
