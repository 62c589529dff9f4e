package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// TrainingPath is the URL path for training pods.
const TrainingPath = "/training"

// Training mounts the storage of a ModelVersion into training pods. The pod names
// the ModelVersion, or belongs to a workload with a template, from which the
// ModelVersion will be created.
type Training struct {
	// Live reads from the API server: users create a ModelVersion and its
	// training workload together, and a cache may not show the ModelVersion yet.
	Live client.Reader
	// Options are the operator's options.
	Options workflow.Options
}

// Default mutates a pod that is being created. An error rejects the pod, and is
// shown to the user or controller that creates it.
func (h *Training) Default(ctx context.Context, pod *corev1.Pod) error {
	request, err := admission.RequestFromContext(ctx)
	if err != nil {
		return fmt.Errorf("read the admission request: %w", err)
	}
	if _, found := pod.Labels[v1alpha1.LabelTrainVersion]; !found {
		return nil
	}
	// A controller may leave the namespace out of the pod that it creates.
	trained, err := h.fromTemplate(ctx, request.Namespace, pod)
	if trained == nil && err == nil {
		trained, err = h.fromVersion(ctx, request.Namespace, pod)
	}
	if err != nil {
		return err
	}
	*pod = *trained
	return nil
}

// fromVersion returns the pod with the storage of the ModelVersion that its label
// names.
func (h *Training) fromVersion(ctx context.Context, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	name, _, err := labelValue(pod, v1alpha1.LabelTrainVersion, "ModelVersion")
	if err != nil {
		return nil, fmt.Errorf("%w; an empty label is allowed only if the pod's workload has the annotation %s", err, v1alpha1.AnnotationModelVersion)
	}
	mv, err := getVersion(ctx, h.Live, namespace, name, namedBy(v1alpha1.LabelTrainVersion))
	if err != nil {
		return nil, err
	}
	trained, problem := inject.Training(pod, mv, h.Options)
	if problem != nil {
		return nil, fmt.Errorf("ModelVersion %q: %s", name, problem.Message)
	}
	return trained, nil
}

// fromTemplate returns the pod with the storage of the ModelVersion that will be
// created from the template of the pod's workload. It returns nil if the pod
// belongs to no workload with a template, or its label names another ModelVersion.
func (h *Training) fromTemplate(ctx context.Context, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	owner, err := h.workloadWithTemplate(ctx, namespace, pod)
	if err != nil || owner == nil {
		return nil, err
	}
	mv, problem := lifecycle.FromTemplate(owner, h.Options)
	name := pod.Labels[v1alpha1.LabelTrainVersion]
	if problem == nil && name != "" && name != mv.Name {
		return nil, nil
	}
	if problem == nil {
		if err := h.checkNamespace(ctx, namespace, owner); err != nil {
			return nil, err
		}
		pod, problem = inject.TrainingFromTemplate(pod, mv, h.Options)
	}
	if problem != nil {
		return nil, fmt.Errorf("%s %s: %s", owner.GetKind(), owner.GetName(), problem.Message)
	}
	return pod, nil
}

// checkNamespace returns an error if no ModelVersions may be created from the
// templates of workloads in a namespace.
func (h *Training) checkNamespace(ctx context.Context, name string, owner *unstructured.Unstructured) error {
	var namespace metav1.PartialObjectMetadata
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := h.Live.Get(ctx, client.ObjectKey{Name: name}, &namespace); err != nil {
		return fmt.Errorf("get Namespace %q: %w", name, err)
	}
	if !workload.AllowsVersions(&namespace) {
		return fmt.Errorf("%s %s: %s", owner.GetKind(), owner.GetName(), lifecycle.NotAllowed(name))
	}
	return nil
}

// maxOwnerDepth is how far a pod may be from its workload: a pod's Job, its JobSet
// and its TrainJob are three.
const maxOwnerDepth = 5

// workloadWithTemplate returns the workload with a template that a pod belongs to,
// or nil. It follows controller references upwards.
func (h *Training) workloadWithTemplate(ctx context.Context, namespace string, pod *corev1.Pod) (*unstructured.Unstructured, error) {
	ref := metav1.GetControllerOf(pod)
	for range maxOwnerDepth {
		if ref == nil {
			return nil, nil
		}
		kind, known := h.trainingKind(*ref)
		if !known {
			return nil, nil
		}
		owner := &unstructured.Unstructured{}
		owner.SetGroupVersionKind(kind)
		err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, owner)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get %s %q: %w", kind.Kind, ref.Name, err)
		}
		if owner.GetUID() != ref.UID {
			return nil, nil
		}
		if workload.HasTemplate(owner) {
			return owner, nil
		}
		ref = metav1.GetControllerOf(owner)
	}
	return nil, nil
}

// trainingKind returns the kind of an owner, in the API version that the operator
// reads, and whether it is one of the training kinds.
func (h *Training) trainingKind(owner metav1.OwnerReference) (schema.GroupVersionKind, bool) {
	want := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
	for _, kind := range h.Options.TrainingKinds {
		if kind.GroupKind() == want {
			return kind.GroupVersionKind, true
		}
	}
	return schema.GroupVersionKind{}, false
}
