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

// The names are known, so the operator does not list volumes and claims, and it never
// changes one that exists.
//
// +kubebuilder:rbac:groups="",resources=persistentvolumes;persistentvolumeclaims,verbs=get;create;delete,roleName=modelkiln-efs

// prepareVolume creates the storage of a ModelVersion, unless an earlier attempt has
// created it. The finalizer is added first, so that the storage is deleted even if a
// pass is interrupted. The PersistentVolume is created before the claim: Kubernetes
// binds a claim at once to a volume that exists, and only at its next sync to one
// that is created later.
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
		return r.ensurePersistentVolume(ctx, volume.For(claim.UID))
	}
	if err := r.ensurePersistentVolume(ctx, volume.Persistent.DeepCopy()); err != nil {
		return err
	}
	claim = volume.Claim.DeepCopy()
	if err := r.Client.Create(ctx, claim); err != nil {
		return fmt.Errorf("create PersistentVolumeClaim %q: %w", claim.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created PersistentVolumeClaim", "PersistentVolumeClaim", klog.KObj(claim))
	return nil
}

// claim returns the claim of the ModelVersion, or nil if there is none. If a claim of
// that name belongs to another owner or is being deleted, the error is AlreadyExists.
func (r *ModelVersionReconciler) claim(ctx context.Context, mv *v1alpha1.ModelVersion, wanted *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	claim := &corev1.PersistentVolumeClaim{}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(wanted), claim)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("get PersistentVolumeClaim %q: %w. Ask the platform team to grant the permissions for AWSEfs, which the component deploy/components/efs contains", wanted.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("get PersistentVolumeClaim %q: %w", wanted.Name, err)
	}
	if !metav1.IsControlledBy(claim, mv) || !claim.DeletionTimestamp.IsZero() {
		return nil, apierrors.NewAlreadyExists(corev1.Resource("persistentvolumeclaims"), wanted.Name)
	}
	return claim, nil
}

// ensurePersistentVolume creates the PersistentVolume of a ModelVersion, unless it
// exists. A volume whose claim a user has deleted cannot be bound to another claim: it
// is deleted, and the next pass creates it.
func (r *ModelVersionReconciler) ensurePersistentVolume(ctx context.Context, volume *corev1.PersistentVolume) error {
	wanted := volume.DeepCopy()
	err := r.Client.Create(ctx, volume)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created PersistentVolume", "PersistentVolume", volume.Name)
		return nil
	}
	createErr := fmt.Errorf("create PersistentVolume %q: %w", wanted.Name, err)
	if !apierrors.IsAlreadyExists(err) {
		return createErr
	}
	existing := &corev1.PersistentVolume{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wanted), existing); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get PersistentVolume %q: %w", wanted.Name, err)
	}
	if workflow.Binds(existing, wanted) {
		return nil
	}
	if workflow.IsLeftOver(existing, wanted) {
		if err := deleteSeen(ctx, r.Client, existing); err != nil {
			return err
		}
	}
	return createErr
}

// finalize deletes the storage that was created for a ModelVersion which is being
// deleted, and then removes the finalizer. It does not wait until both objects are
// gone: pods of the Workflows may still use the claim, and those are deleted after
// the ModelVersion. An object of the same name that does not belong to the
// ModelVersion is kept.
func (r *ModelVersionReconciler) finalize(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	if !controllerutil.ContainsFinalizer(mv, v1alpha1.FinalizerVolume) {
		return nil
	}
	name := workflow.VolumeName(mv)
	for _, object := range []client.Object{
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: mv.Namespace, Name: name}},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}},
	} {
		err := r.Live.Get(ctx, client.ObjectKeyFromObject(object), object)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return fmt.Errorf("get %T %q: %w", object, name, err)
		case !workflow.IsVolumeOf(object, string(mv.UID)):
			continue
		}
		if err := deleteSeen(ctx, r.Client, object); err != nil {
			return err
		}
	}
	return r.patchFinalizer(ctx, mv, controllerutil.RemoveFinalizer)
}

// deleteSeen deletes an object if it exists and is as it was read. Names can be used
// again: since then, another client may have replaced it by its own, or taken it over.
// The error is then a conflict.
func deleteSeen(ctx context.Context, c client.Client, object client.Object) error {
	uid, version := object.GetUID(), object.GetResourceVersion()
	seen := client.Preconditions{UID: &uid, ResourceVersion: &version}
	if err := c.Delete(ctx, object, seen); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %q: %w", object, object.GetName(), err)
	}
	return nil
}

// patchFinalizer adds or removes the finalizer for the storage of a ModelVersion,
// unless that is already done.
func (r *ModelVersionReconciler) patchFinalizer(ctx context.Context, mv *v1alpha1.ModelVersion, change func(client.Object, string) bool) error {
	if !change(mv.DeepCopy(), v1alpha1.FinalizerVolume) {
		return nil
	}
	if err := r.complete(ctx, mv); err != nil {
		return err
	}
	before := mv.DeepCopy()
	change(mv, v1alpha1.FinalizerVolume)
	// A merge patch replaces the list of finalizers: the lock prevents that it drops
	// one that another client has added.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, mv, patch); err != nil {
		return fmt.Errorf("patch finalizers of ModelVersion %q: %w", mv.Name, err)
	}
	return nil
}
