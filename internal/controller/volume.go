package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// Nothing is changed once it is made, and what is there is not listed: names
// are known.
//
// +kubebuilder:rbac:groups="",resources=persistentvolumes;persistentvolumeclaims,verbs=get;create;delete

// prepareVolume makes the storage of a version, or finds that an earlier attempt
// has made it. The finalizer goes first: what is made is deleted, whenever a
// pass is cut off. The PersistentVolume goes before the claim: Kubernetes binds a
// claim to what is there at once, and to what comes later when it looks again.
func (r *ModelVersionReconciler) prepareVolume(ctx context.Context, mv *v1alpha1.ModelVersion, volume *workflow.Volume) error {
	if volume == nil {
		return nil
	}
	if err := r.patchFinalizer(ctx, mv, controllerutil.AddFinalizer); err != nil {
		return err
	}
	claim, err := r.claim(ctx, mv, volume.Claim)
	if err != nil {
		return err
	}
	if claim != nil {
		return r.persistentVolume(ctx, volume.For(claim.UID))
	}
	if err := r.persistentVolume(ctx, volume.Persistent.DeepCopy()); err != nil {
		return err
	}
	claim = volume.Claim.DeepCopy()
	if err := r.Client.Create(ctx, claim); err != nil {
		return fmt.Errorf("create PersistentVolumeClaim %q: %w", claim.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created PersistentVolumeClaim", "PersistentVolumeClaim", klog.KObj(claim))
	return nil
}

// claim is the version's claim, or nil when there is none. One of that name that
// is somebody else's, or is being deleted, is in the way.
func (r *ModelVersionReconciler) claim(ctx context.Context, mv *v1alpha1.ModelVersion, wanted *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	claim := &corev1.PersistentVolumeClaim{}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(wanted), claim)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get PersistentVolumeClaim %q: %w", wanted.Name, err)
	}
	if !metav1.IsControlledBy(claim, mv) || !claim.DeletionTimestamp.IsZero() {
		return nil, apierrors.NewAlreadyExists(corev1.Resource("persistentvolumeclaims"), wanted.Name)
	}
	return claim, nil
}

// persistentVolume makes a version's PersistentVolume, or finds it. One that was
// for a claim which a person has deleted binds to no other: it is made anew.
func (r *ModelVersionReconciler) persistentVolume(ctx context.Context, volume *corev1.PersistentVolume) error {
	wanted := volume.DeepCopy()
	err := r.Client.Create(ctx, volume)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created PersistentVolume", "PersistentVolume", volume.Name)
		return nil
	}
	inTheWay := fmt.Errorf("create PersistentVolume %q: %w", wanted.Name, err)
	if !apierrors.IsAlreadyExists(err) {
		return inTheWay
	}
	existing := &corev1.PersistentVolume{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wanted), existing); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get PersistentVolume %q: %w", wanted.Name, err)
	}
	if workflow.Binds(existing, wanted) {
		return nil
	}
	if workflow.IsLeftOver(existing, wanted) {
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
	name := workflow.VolumeName(mv)
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
