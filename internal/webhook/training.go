// Package webhook answers the API server's questions: a pod that names a
// ModelVersion by the label model.kubedl.io/train-version gets that version's
// storage (pods.go). It makes and renews the certificate that this is served
// with, too (certificate.go, certificates.go).
package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/translate"
)

// Path is where the API server asks about training pods.
const Path = "/training"

// Pods gives training pods the storage of the version that they name.
type Pods struct {
	// Live reads from the API server: people apply a version and start its
	// training in one go, and a cache may not know the version yet.
	Live client.Reader
	// Options are the operator's choices.
	Options translate.Options
}

// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions,verbs=get

// Default changes a pod that is about to be made. An error refuses the pod, and
// is a sentence for whoever makes it.
func (p *Pods) Default(ctx context.Context, pod *corev1.Pod) error {
	request, err := admission.RequestFromContext(ctx)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	name, labelled := pod.Labels[v1alpha1.LabelTrainVersion]
	if !labelled {
		return nil
	}
	if name == "" {
		return fmt.Errorf("the pod's label %s is empty: let it name a ModelVersion of the namespace, or leave it out", v1alpha1.LabelTrainVersion)
	}
	// The pod of a controller's request need not say its namespace.
	mv := &v1alpha1.ModelVersion{}
	err = p.Live.Get(ctx, client.ObjectKey{Namespace: request.Namespace, Name: name}, mv)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no ModelVersion %q in namespace %s, which the pod's label %s names: apply it, and the pod can be made", name, request.Namespace, v1alpha1.LabelTrainVersion)
	}
	if err != nil {
		return fmt.Errorf("get ModelVersion %q: %w", name, err)
	}
	if !mv.DeletionTimestamp.IsZero() {
		return fmt.Errorf("ModelVersion %q, which the pod's label %s names, is being deleted: train another one", name, v1alpha1.LabelTrainVersion)
	}
	trained, problem := translate.Training(pod, mv, p.Options)
	if problem != nil {
		return fmt.Errorf("ModelVersion %q: %s", name, problem.Message)
	}
	*pod = *trained
	return nil
}
