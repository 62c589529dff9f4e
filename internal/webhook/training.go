package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// TrainingPath is where the API server asks about training pods.
const TrainingPath = "/training"

// Training gives training pods the storage of the version that they name, or that
// will be made of the spec which their workload carries (workloads.go).
type Training struct {
	// Live reads from the API server: people apply a version and start its
	// training in one go, and a cache may not know the version yet.
	Live client.Reader
	// Options are the operator's choices.
	Options workflow.Options
}

// Default changes a pod that is about to be made. An error refuses the pod, and
// is a sentence for whoever makes it.
func (h *Training) Default(ctx context.Context, pod *corev1.Pod) error {
	request, err := admission.RequestFromContext(ctx)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if _, labelled := pod.Labels[v1alpha1.LabelTrainVersion]; !labelled {
		return nil
	}
	// The pod of a controller's request need not say its namespace.
	carried, err := h.ofWorkload(ctx, request.Namespace, pod)
	if err != nil {
		return err
	}
	if carried != nil {
		*pod = *carried
		return nil
	}
	name, _, err := labelled(pod, v1alpha1.LabelTrainVersion, "ModelVersion")
	if err != nil {
		return fmt.Errorf("%w; the name of a workload's own version comes from the workload's annotation %s", err, v1alpha1.AnnotationModelVersion)
	}
	mv, err := lookUp(ctx, h.Live, request.Namespace, name, "which the pod's label "+v1alpha1.LabelTrainVersion+" names")
	if err != nil {
		return err
	}
	trained, problem := inject.Training(pod, mv, h.Options)
	if problem != nil {
		return fmt.Errorf("ModelVersion %q: %s", name, problem.Message)
	}
	*pod = *trained
	return nil
}
