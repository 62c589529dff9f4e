package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/translate"
)

// Nothing is changed once it is made, and what is there is not listed: names
// are known.
//
// +kubebuilder:rbac:groups="",resources=persistentvolumes;persistentvolumeclaims,verbs=get;create;delete

// prepareVolume makes the storage of a version, or finds that an earlier attempt
// has made it. The finalizer goes first: what is made is deleted, whenever a
// pass is cut off.
func (r *ModelVersionReconciler) prepareVolume(ctx context.Context, mv *v1alpha1.ModelVersion, volume *translate.Volume) error {
	if volume == nil {
		return nil
	}
	if err := r.patchFinalizer(ctx, mv, controllerutil.AddFinalizer); err != nil {
		return err
	}
	claim, err := r.claim(ctx, mv, volume)
	if err != nil {
		return err
	}
	return r.persistentVolume(ctx, volume.For(claim))
}

// claim makes the version's claim, or finds it, and is its UID. A claim of that
// name that is somebody else's, or is being deleted, is in the way.
func (r *ModelVersionReconciler) claim(ctx context.Context, mv *v1alpha1.ModelVersion, volume *translate.Volume) (types.UID, error) {
	claim := volume.Claim.DeepCopy()
	err := r.Client.Create(ctx, claim)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created PersistentVolumeClaim", "PersistentVolumeClaim", klog.KObj(claim))
		return claim.UID, nil
	}
	inTheWay := fmt.Errorf("create PersistentVolumeClaim %q: %w", volume.Claim.Name, err)
	if !apierrors.IsAlreadyExists(err) {
		return "", inTheWay
	}
	existing := &corev1.PersistentVolumeClaim{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(claim), existing); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get PersistentVolumeClaim %q: %w", volume.Claim.Name, err)
	}
	if !metav1.IsControlledBy(existing, mv) || !existing.DeletionTimestamp.IsZero() {
		return "", inTheWay
	}
	return existing.UID, nil
}

// persistentVolume makes a version's PersistentVolume, or finds it. One that was
// for a claim which a person has deleted binds to no other: it is made anew.
func (r *ModelVersionReconciler) persistentVolume(ctx context.Context, volume *corev1.PersistentVolume) error {
	err := r.Client.Create(ctx, volume)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created PersistentVolume", "PersistentVolume", volume.Name)
		return nil
	}
	inTheWay := fmt.Errorf("create PersistentVolume %q: %w", volume.Name, err)
	if !apierrors.IsAlreadyExists(err) {
		return inTheWay
	}
	existing := &corev1.PersistentVolume{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(volume), existing); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get PersistentVolume %q: %w", volume.Name, err)
	}
	if translate.Binds(existing, volume.Spec.ClaimRef.UID) {
		return nil
	}
	if existing.DeletionTimestamp.IsZero() && existing.Labels[v1alpha1.LabelModelVersionUID] == volume.Labels[v1alpha1.LabelModelVersionUID] {
		if err := r.remove(ctx, existing); err != nil {
			return err
		}
	}
	return inTheWay
}

// finalize deletes the storage that was made for a version which is being
// deleted, and lets it go then. It does not wait until both are gone: pods of
// the version's Workflows may still use the claim, and those go after the
// version.
func (r *ModelVersionReconciler) finalize(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	if !controllerutil.ContainsFinalizer(mv, v1alpha1.FinalizerVolume) {
		return nil
	}
	name := translate.VolumeName(mv)
	for _, object := range []client.Object{
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: mv.Namespace, Name: name}},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}},
	} {
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	return r.patchFinalizer(ctx, mv, controllerutil.RemoveFinalizer)
}

// remove deletes an object, if it is there.
func (r *ModelVersionReconciler) remove(ctx context.Context, object client.Object) error {
	if err := r.Client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %q: %w", object, object.GetName(), err)
	}
	return nil
}

// patchFinalizer puts the finalizer of a version's storage there, or takes it
// away, unless that is done.
func (r *ModelVersionReconciler) patchFinalizer(ctx context.Context, mv *v1alpha1.ModelVersion, change func(client.Object, string) bool) error {
	before := mv.DeepCopy()
	if !change(mv, v1alpha1.FinalizerVolume) {
		return nil
	}
	// A merge patch replaces the list of finalizers: the lock keeps what others
	// have added meanwhile.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, mv, patch); err != nil {
		return fmt.Errorf("patch finalizers of ModelVersion %q: %w", mv.Name, err)
	}
	return nil
}
