package webhook

import (
	"context"
	"fmt"
	"net/http"

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
)

// WorkloadsPath is where the API server asks about workloads that carry a
// version's spec.
const WorkloadsPath = "/workloads"

// Workloads refuses a workload that carries a spec of which no version could be
// made, before it trains for hours.
type Workloads struct {
	// Client tries to create the version: the API server alone knows all rules.
	Client client.Client
	// Options are the operator's choices.
	Options workflow.Options
}

// Handle lets a workload through whose version could be made.
func (h *Workloads) Handle(ctx context.Context, request admission.Request) admission.Response {
	workload := &unstructured.Unstructured{}
	if err := workload.UnmarshalJSON(request.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("read the workload: %w", err))
	}
	workload.SetNamespace(request.Namespace)
	mv, problem := lifecycle.FromTemplate(workload, h.Options)
	if problem != nil {
		return admission.Denied(problem.Message)
	}
	err := h.Client.Create(ctx, mv, client.DryRunAll)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return admission.Allowed("")
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return admission.Denied(lifecycle.TemplateRejected(err.Error()).Message)
	default:
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("try to create ModelVersion %q: %w", mv.Name, err))
	}
}

// mostOwners is how far a pod may be from its workload: a pod's Job, its JobSet
// and its TrainJob are three.
const mostOwners = 5

// carrying is the workload that a pod belongs to and that carries a version's
// spec, or nil. Each controller is asked for its own.
func (h *Training) carrying(ctx context.Context, namespace string, pod *corev1.Pod) (*unstructured.Unstructured, error) {
	owner := metav1.GetControllerOf(pod)
	for range mostOwners {
		if owner == nil {
			return nil, nil
		}
		kind, known := h.trainingKind(*owner)
		if !known {
			return nil, nil
		}
		workload := &unstructured.Unstructured{}
		workload.SetGroupVersionKind(kind)
		err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: owner.Name}, workload)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get %s %q: %w", kind.Kind, owner.Name, err)
		}
		if workload.GetUID() != owner.UID {
			return nil, nil
		}
		if _, carries := workload.GetAnnotations()[v1alpha1.AnnotationModelVersion]; carries {
			return workload, nil
		}
		owner = metav1.GetControllerOf(workload)
	}
	return nil, nil
}

// trainingKind is the kind of an owner, in the version that the operator reads.
func (h *Training) trainingKind(owner metav1.OwnerReference) (schema.GroupVersionKind, bool) {
	named := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
	for _, kind := range h.Options.TrainingKinds {
		if kind.GroupKind() == named {
			return kind, true
		}
	}
	return schema.GroupVersionKind{}, false
}

// ofWorkload is the pod with the storage of the version that its workload will
// have. It is nil when the pod belongs to no such workload, or names another
// version than that one.
func (h *Training) ofWorkload(ctx context.Context, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	workload, err := h.carrying(ctx, namespace, pod)
	if err != nil || workload == nil {
		return nil, err
	}
	mv, problem := lifecycle.FromTemplate(workload, h.Options)
	name := pod.Labels[v1alpha1.LabelTrainVersion]
	if problem == nil && name != "" && name != mv.Name {
		return nil, nil
	}
	if problem == nil {
		var found metav1.PartialObjectMetadata
		found.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		if err := h.Live.Get(ctx, client.ObjectKey{Name: namespace}, &found); err != nil {
			return nil, fmt.Errorf("get Namespace %q: %w", namespace, err)
		}
		if found.Labels[v1alpha1.LabelVersionsFromWorkloads] != "true" {
			return nil, fmt.Errorf("%s %s: %s", workload.GetKind(), workload.GetName(), lifecycle.NotAllowed(namespace))
		}
		pod, problem = inject.TrainingFromTemplate(pod, mv, h.Options)
	}
	if problem != nil {
		return nil, fmt.Errorf("%s %s: %s", workload.GetKind(), workload.GetName(), problem.Message)
	}
	return pod, nil
}
