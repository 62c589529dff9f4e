package webhook

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// All pods of one revision of a workload serve the ModelVersion of its first pod:
// scaling and evictions do not bring another one into production, and kubectl
// rollout undo returns to the previous one. The record of it is created before the
// first pod is admitted. Its name is deterministic, so that of several first pods one
// decides for all.
//
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;create,roleName=modelkiln-namespaced

// ofModel returns the ModelVersion of a Model, or of its alias, that a pod serves.
func (h *Serving) ofModel(ctx context.Context, request admission.Request, pod *corev1.Pod, model, alias string) (*v1alpha1.ModelVersion, error) {
	revision, owner, err := h.revision(ctx, request.Namespace, pod)
	if err != nil {
		return nil, err
	}
	if owner == nil {
		if controller := metav1.GetControllerOf(pod); controller != nil {
			warnf(ctx, "Pods of %s %s can serve different versions of the Model: only pods of a ReplicaSet, StatefulSet, DaemonSet or Job keep that of the first one. To choose one: label %s", controller.Kind, controller.Name, v1alpha1.LabelServeVersion)
		}
		return h.current(ctx, request.Namespace, model, alias)
	}
	served, err := h.recorded(ctx, request.Namespace, workload.ServedRecordName(owner.UID, model, alias))
	if err != nil {
		return nil, err
	}
	if served == nil {
		current, err := h.current(ctx, request.Namespace, model, alias)
		// Without a digest, the pod is rejected.
		if err != nil || current.Status.Digest == "" || ptr.Deref(request.DryRun, false) {
			return current, err
		}
		served, err = h.record(ctx, request.Namespace, *owner, workload.Served{Model: model, Alias: alias, ModelVersion: current.Name, Digest: current.Status.Digest})
		if err != nil {
			return nil, err
		}
	}
	return h.sameVersion(ctx, request.Namespace, *served, func() string {
		wanted := "the latest version"
		if alias != "" {
			wanted = fmt.Sprintf("the version of the alias %q", alias)
		}
		return fmt.Sprintf("the pods of %s %s serve it since the first one, and get no other version by themselves. To serve %s of Model %q: %s", owner.Kind, owner.Name, wanted, model, workload.NextRevision(pod, request.Namespace, revision))
	})
}

// revision returns the revision that a pod belongs to, and a reference to the object
// that controls its record: the ReplicaSet or Job, or the ControllerRevision of the
// StatefulSet or DaemonSet. The reference is nil if the revision is not known.
func (h *Serving) revision(ctx context.Context, namespace string, pod *corev1.Pod) (workload.Revision, *metav1.OwnerReference, error) {
	revision, known := workload.RevisionOf(pod)
	if !known {
		return revision, nil, nil
	}
	if revision.ControllerRevision == "" {
		owner := workload.NewOwnerReference(revision.Owner.APIVersion, revision.Owner.Kind, revision.Owner.Name, revision.Owner.UID)
		return revision, &owner, nil
	}
	var template metav1.PartialObjectMetadata
	template.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ControllerRevision"))
	err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: revision.ControllerRevision}, &template)
	if err != nil && !apierrors.IsNotFound(err) {
		return revision, nil, fmt.Errorf("get ControllerRevision %q: %w", revision.ControllerRevision, err)
	}
	if controller := metav1.GetControllerOf(&template); controller == nil || controller.UID != revision.Owner.UID {
		return revision, nil, nil
	}
	owner := workload.NewOwnerReference(template.APIVersion, template.Kind, template.Name, template.UID)
	return revision, &owner, nil
}

// recorded returns what a record contains, or nil if it does not exist.
func (h *Serving) recorded(ctx context.Context, namespace, name string) (*workload.Served, error) {
	record := &appsv1.ControllerRevision{}
	err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, record)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get ControllerRevision %q: %w", name, err)
	}
	return workload.ReadServedRecord(record)
}

// record records what the pods of a revision serve, and returns it. If the
// webhook has recorded something else for another pod in the meantime, it returns
// that.
func (h *Serving) record(ctx context.Context, namespace string, owner metav1.OwnerReference, served workload.Served) (*workload.Served, error) {
	record, err := workload.NewServedRecord(namespace, owner, served)
	if err != nil {
		return nil, err
	}
	err = h.Client.Create(ctx, record)
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			return nil, fmt.Errorf("create ControllerRevision %q: %w", record.Name, err)
		}
		return &served, nil
	}
	earlier, err := h.recorded(ctx, namespace, record.Name)
	if err == nil && earlier == nil {
		err = apierrors.NewConflict(appsv1.Resource("controllerrevisions"), record.Name, fmt.Errorf("it was deleted at the same time"))
	}
	return earlier, err
}

// sameVersion returns the ModelVersion that was recorded. It is an error if it does
// not have the recorded image any more; keep describes, in the error, why the pod
// does not get another one, and what to do.
func (h *Serving) sameVersion(ctx context.Context, namespace string, served workload.Served, keep func() string) (*v1alpha1.ModelVersion, error) {
	mv := &v1alpha1.ModelVersion{}
	err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: served.ModelVersion}, mv)
	switch {
	case apierrors.IsNotFound(err), err == nil && !mv.DeletionTimestamp.IsZero():
		return nil, fmt.Errorf("ModelVersion %q was deleted: %s", served.ModelVersion, keep())
	case err != nil:
		return nil, fmt.Errorf("get ModelVersion %q: %w", served.ModelVersion, err)
	case mv.Status.Digest != served.Digest:
		return nil, fmt.Errorf("ModelVersion %q does not have the image %s any more: %s", served.ModelVersion, served.Digest, keep())
	}
	return mv, nil
}
