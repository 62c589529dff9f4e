package webhook

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// CreatorPath is the URL path for ModelVersions that are being created.
const CreatorPath = "/creator"

// Creator records which user creates a ModelVersion, in an annotation. It reads
// nothing but the request.
type Creator struct{}

// Handle sets the annotation, whatever its value was. The object is not decoded any
// further, so that the API server reports what is wrong with it.
func (Creator) Handle(_ context.Context, request admission.Request) admission.Response {
	mv := &unstructured.Unstructured{}
	if err := mv.UnmarshalJSON(request.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	annotations := mv.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationCreatedByUser] = request.UserInfo.Username
	mv.SetAnnotations(annotations)
	raw, err := mv.MarshalJSON()
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, raw)
}
