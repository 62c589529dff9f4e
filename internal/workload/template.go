package workload

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// HasTemplate reports whether a workload has an annotation with the spec of the
// ModelVersion that is created when it completes.
func HasTemplate(workload metav1.Object) bool {
	_, found := workload.GetAnnotations()[v1alpha1.AnnotationModelVersion]
	return found
}
