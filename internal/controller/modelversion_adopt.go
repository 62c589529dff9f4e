package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// adopt makes the Model the owner of the ModelVersion, after creating the Model if
// it does not exist. It reports whether the ModelVersion has to wait for a Model of
// that name to be deleted. A ModelVersion that has had a Model never creates it
// again: if the Model is gone, the ModelVersion is about to be garbage-collected.
func (r *ModelVersionReconciler) adopt(ctx context.Context, mv *v1alpha1.ModelVersion) (terminating bool, err error) {
	if isAdopted(mv) || mv.Spec.ModelName == "" {
		return false, nil
	}
	model, err := r.ensureModel(ctx, mv)
	if err != nil {
		return false, err
	}
	if !model.DeletionTimestamp.IsZero() {
		return true, nil
	}
	before := mv.DeepCopy()
	if err := controllerutil.SetOwnerReference(model, mv, r.Client.Scheme()); err != nil {
		return false, fmt.Errorf("adopt ModelVersion %q: %w", mv.Name, err)
	}
	metav1.SetMetaDataLabel(&mv.ObjectMeta, v1alpha1.LabelModelName, mv.Spec.ModelName)
	metav1.SetMetaDataAnnotation(&mv.ObjectMeta, v1alpha1.AnnotationJoined, string(mv.UID))
	// The lock prevents two passes from each adding an owner.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, mv, patch); err != nil {
		return false, fmt.Errorf("adopt ModelVersion %q: %w", mv.Name, err)
	}
	return false, nil
}

// isAdopted reports whether a Model owns the ModelVersion, or once did.
func isAdopted(mv *v1alpha1.ModelVersion) bool {
	annotated := mv.Annotations[v1alpha1.AnnotationJoined] == string(mv.UID)
	return annotated || slices.ContainsFunc(mv.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.Kind == "Model" && strings.HasPrefix(owner.APIVersion, v1alpha1.GroupVersion.Group+"/")
	})
}

// ensureModel returns the Model of the ModelVersion, after creating it if it does
// not exist.
func (r *ModelVersionReconciler) ensureModel(ctx context.Context, mv *v1alpha1.ModelVersion) (*v1alpha1.Model, error) {
	key := client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}
	var model v1alpha1.Model
	err := r.Live.Get(ctx, key, &model)
	if !apierrors.IsNotFound(err) {
		return &model, err
	}
	model = v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := r.Client.Create(ctx, &model); err != nil {
		return nil, fmt.Errorf("create Model %q: %w", key.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created Model", "Model", klog.KObj(&model))
	return &model, nil
}
