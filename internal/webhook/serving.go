package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
)

// ServingPath is where the API server asks about pods that serve a model.
const ServingPath = "/serving"

// Serving gives pods the model that they serve.
type Serving struct {
	// Live reads from the API server: a cache may not know yet that the version
	// is Ready, for which the pod was made.
	Live client.Reader
	// Server says which version the API server has.
	Server discovery.ServerVersionInterfaceWithContext
	// Mount is how pods get their model.
	Mount inject.ServingMount
}

// Default changes a pod that is about to be made. An error refuses the pod, and
// is a sentence for whoever makes it.
func (h *Serving) Default(ctx context.Context, pod *corev1.Pod) error {
	request, err := admission.RequestFromContext(ctx)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	mv, err := h.version(ctx, pod, request.Namespace)
	if err != nil || mv == nil {
		return err
	}
	way, err := h.way(ctx)
	if err != nil {
		return err
	}
	served, problem := inject.Serving(pod, mv, way)
	if problem != nil {
		return fmt.Errorf("ModelVersion %q: %s", mv.Name, problem.Message)
	}
	*pod = *served
	return nil
}

// version is what a pod serves; nil when it has none of the labels.
func (h *Serving) version(ctx context.Context, pod *corev1.Pod, namespace string) (*v1alpha1.ModelVersion, error) {
	name, namesVersion, err := labelled(pod, v1alpha1.LabelServeVersion, "ModelVersion")
	if err != nil {
		return nil, err
	}
	model, namesModel, err := labelled(pod, v1alpha1.LabelServeModel, "Model")
	switch {
	case err != nil:
		return nil, err
	case namesVersion && namesModel:
		return nil, fmt.Errorf("the pod has both labels, %s and %s: leave one of them out", v1alpha1.LabelServeVersion, v1alpha1.LabelServeModel)
	case namesVersion:
		return lookUp(ctx, h.Live, namespace, name, "which the pod's label "+v1alpha1.LabelServeVersion+" names")
	case namesModel:
		return h.latest(ctx, namespace, model)
	default:
		return nil, nil
	}
}

// latest is the version that is a Model's latest.
func (h *Serving) latest(ctx context.Context, namespace, name string) (*v1alpha1.ModelVersion, error) {
	model := &v1alpha1.Model{}
	err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, model)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Model %q in namespace %s, which the pod's label %s names: apply a ModelVersion of it, and the pod can be made when that is Ready", name, namespace, v1alpha1.LabelServeModel)
	}
	if err != nil {
		return nil, fmt.Errorf("get Model %q: %w", name, err)
	}
	if model.Status.LatestVersion == nil {
		return nil, fmt.Errorf("no version is Ready of Model %q, which the pod's label %s names (kubectl get mv -n %s -l %s=%s). %s", name, v1alpha1.LabelServeModel, namespace, v1alpha1.LabelModelName, name, inject.CreatedWhenReady)
	}
	return lookUp(ctx, h.Live, namespace, model.Status.LatestVersion.ModelVersion, "the latest of Model "+name)
}

// way is how a pod gets its model. The API server is asked each time, since it is
// upgraded while the operator runs.
func (h *Serving) way(ctx context.Context) (inject.ServingMount, error) {
	if h.Mount != inject.ServingAuto {
		return h.Mount, nil
	}
	server, err := h.Server.ServerVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("get the API server's version: %w", err)
	}
	return inject.ServingMountFor(*server), nil
}
