package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// labelValue returns the name in a pod's label, and whether the pod has the label.
func labelValue(pod *corev1.Pod, label, kind string) (name string, found bool, err error) {
	name, found = pod.Labels[label]
	if found && name == "" {
		return "", true, fmt.Errorf("the pod's label %s is empty: set it to the name of a %s in this namespace, or remove the label", label, kind)
	}
	return name, found, nil
}

// namedBy describes, in messages, that a pod's label names an object.
func namedBy(label string) string { return "named by the pod's label " + label }

// notFound returns the error for an object that a pod needs and that does not
// exist, with what to do about it.
func notFound(kind, namespace, name, origin, next string) error {
	return fmt.Errorf("%s %q not found in namespace %s (%s): %s", kind, name, namespace, origin, next)
}

// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions;models,verbs=get,roleName=modelkiln-namespaced

// getVersion returns a ModelVersion of a pod's namespace. origin describes in messages
// why the pod needs that one.
func getVersion(ctx context.Context, live client.Reader, namespace, name, origin string) (*v1alpha1.ModelVersion, error) {
	mv := &v1alpha1.ModelVersion{}
	err := live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, mv)
	if apierrors.IsNotFound(err) {
		return nil, notFound("ModelVersion", namespace, name, origin, "create it first")
	}
	if err != nil {
		return nil, fmt.Errorf("get ModelVersion %q: %w", name, err)
	}
	if !mv.DeletionTimestamp.IsZero() {
		return nil, fmt.Errorf("ModelVersion %q (%s) is being deleted: use another ModelVersion", name, origin)
	}
	return mv, nil
}
