package controller

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// VolumeReconciler deletes the PersistentVolumes and claims of ModelVersions that no
// longer exist, for example because a user has removed the finalizer, and of those
// whose storage the operator's configuration does not allow any more.
type VolumeReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Passes knows the passes that run.
	Passes *Passes
	// Live reads claims, which are not cached.
	Live client.Reader
	// Options are the settings of builds.
	Options workflow.Options
	// Namespaces are the only namespaces of whose ModelVersions the operator knows;
	// all if empty.
	Namespaces []string
}

// +kubebuilder:rbac:groups="",resources=persistentvolumes,verbs=list;watch,roleName=modelkiln-efs

// Reconcile runs one pass for one PersistentVolume.
func (r *VolumeReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var volume corev1.PersistentVolume
	if err := r.Client.Get(ctx, req.NamespacedName, &volume); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !volume.DeletionTimestamp.IsZero() || volume.Spec.ClaimRef == nil {
		return ctrl.Result{}, nil
	}
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, volume.Spec.ClaimRef.Namespace) {
		// Another operator has created it.
		return ctrl.Result{}, nil
	}
	needed, err := r.isNeeded(ctx, &volume)
	if err != nil || needed {
		return ctrl.Result{}, err
	}
	return resultFor(r.remove(ctx, &volume))
}

// remove deletes a PersistentVolume and its claim. A claim of the same name that
// belongs to something else is kept.
func (r *VolumeReconciler) remove(ctx context.Context, volume *corev1.PersistentVolume) error {
	claim := &corev1.PersistentVolumeClaim{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: volume.Spec.ClaimRef.Namespace, Name: volume.Spec.ClaimRef.Name}, claim)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get PersistentVolumeClaim %q: %w", volume.Spec.ClaimRef.Name, err)
	}
	objects := []client.Object{volume}
	if workflow.IsVolumeOf(claim, volume.Labels[v1alpha1.LabelModelVersionUID]) {
		objects = append(objects, claim)
	}
	for _, object := range objects {
		if err := deleteSeen(ctx, r.Client, object); err != nil {
			return err
		}
	}
	ctrl.LoggerFrom(ctx).Info("Deleted a PersistentVolume whose ModelVersion is gone or not allowed to have it", "PersistentVolumeClaim", klog.KObj(claim))
	return nil
}

// isNeeded reports whether the ModelVersion of a PersistentVolume exists and may have
// it.
func (r *VolumeReconciler) isNeeded(ctx context.Context, volume *corev1.PersistentVolume) (bool, error) {
	var versions v1alpha1.ModelVersionList
	uid := volume.Labels[v1alpha1.LabelModelVersionUID]
	if err := r.Client.List(ctx, &versions, client.InNamespace(volume.Spec.ClaimRef.Namespace), client.MatchingFields{indexUID: uid}); err != nil {
		return false, fmt.Errorf("list ModelVersions: %w", err)
	}
	return len(versions.Items) == 1 && workflow.MayHaveVolume(&versions.Items[0], r.Options), nil
}

// SetupWithManager registers the reconciler and its watches, unless the operator has
// no permission on PersistentVolumes: an installation without AWSEfs need not grant
// it.
func (r *VolumeReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	permitted, err := mayWatchVolumes(ctx, mgr)
	if err != nil {
		return err
	}
	if !permitted {
		mgr.GetLogger().Info("The operator has no permission to watch PersistentVolumes; those of AWSEfs are not removed when their ModelVersion is gone or no longer allowed")
		return nil
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ModelVersion{}, indexUID, func(o client.Object) []string {
		if o.(*v1alpha1.ModelVersion).Spec.Storage.AWSEfs == nil {
			return nil // It has no PersistentVolume.
		}
		return []string{string(o.GetUID())}
	}); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("volume").
		For(&corev1.PersistentVolume{}).
		Watches(&v1alpha1.ModelVersion{}, handler.EnqueueRequestsFromMapFunc(volumeOfVersion), builder.WithPredicates(onlyDeletes())).
		Complete(known(r.Passes, "volume", r))
}

// mayWatchVolumes asks the API server whether the operator may watch
// PersistentVolumes.
func mayWatchVolumes(ctx context.Context, mgr ctrl.Manager) (bool, error) {
	c, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return false, err
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Resource: "persistentvolumes", Verb: "watch"},
	}}
	if err := c.Create(ctx, review); err != nil {
		return false, fmt.Errorf("review the permission to watch PersistentVolumes: %w", err)
	}
	return review.Status.Allowed, nil
}

// volumeOfVersion returns the PersistentVolume that a ModelVersion may have.
func volumeOfVersion(_ context.Context, o client.Object) []reconcile.Request {
	mv := o.(*v1alpha1.ModelVersion)
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: workflow.VolumeName(mv)}}}
}

// stripVolume drops what is not read of a PersistentVolume.
func stripVolume(object any) (any, error) {
	if volume, ok := object.(*corev1.PersistentVolume); ok {
		stripped := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{ClaimRef: volume.Spec.ClaimRef}}
		stripped.ObjectMeta = metav1.ObjectMeta{
			Name: volume.Name, UID: volume.UID, ResourceVersion: volume.ResourceVersion, DeletionTimestamp: volume.DeletionTimestamp,
			Labels: keep(volume.Labels, v1alpha1.LabelModelVersionUID),
		}
		return stripped, nil
	}
	return object, nil
}
