// Package webhook answers the API server's questions. A pod that names a
// ModelVersion by the label model.kubedl.io/train-version gets that version's
// storage (training.go); one that names a ModelVersion or a Model by the label
// model.kubedl.io/serve-version or model.kubedl.io/serve-model gets the files of
// the image (serving.go). A workload that carries a version's spec is refused when
// no version could be made of it (workloads.go). It makes and renews the certificate that this is served
// with, too (certificate.go, certificates.go).
package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// labelled is the name in a pod's label, if the pod has it.
func labelled(pod *corev1.Pod, label, kind string) (name string, found bool, err error) {
	name, found = pod.Labels[label]
	if found && name == "" {
		return "", true, fmt.Errorf("the pod's label %s is empty: let it name a %s of the namespace, or leave it out", label, kind)
	}
	return name, found, nil
}

// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions;models,verbs=get

// lookUp is a version of a pod's namespace. why says how the pod comes to it.
func lookUp(ctx context.Context, live client.Reader, namespace, name, why string) (*v1alpha1.ModelVersion, error) {
	mv := &v1alpha1.ModelVersion{}
	err := live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, mv)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no ModelVersion %q in namespace %s, %s: apply it, and the pod can be made", name, namespace, why)
	}
	if err != nil {
		return nil, fmt.Errorf("get ModelVersion %q: %w", name, err)
	}
	if !mv.DeletionTimestamp.IsZero() {
		return nil, fmt.Errorf("ModelVersion %q, %s, is being deleted: the pod needs another one", name, why)
	}
	return mv, nil
}
