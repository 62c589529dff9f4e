package webhook

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// PromoterPath is the URL path for Models whose aliases change.
const PromoterPath = "/promoter"

// Promoter records which user promotes a ModelVersion, in an annotation for each alias of
// a Model. It reads nothing but the request.
type Promoter struct{}

// Handle sets the annotations of the aliases whose version changes to the user of the
// request, and restores all others, whatever the user wrote. The Model is not decoded any
// further, so that the API server reports what is wrong with it.
func (Promoter) Handle(_ context.Context, request admission.Request) admission.Response {
	model := &unstructured.Unstructured{}
	if err := model.UnmarshalJSON(request.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	before := &unstructured.Unstructured{}
	if len(request.OldObject.Raw) > 0 {
		if err := before.UnmarshalJSON(request.OldObject.Raw); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
	}
	versions, err := aliasVersions(request.Object.Raw)
	if err != nil {
		// The API server says so in its own words.
		return admission.Allowed("")
	}
	versionsBefore, err := aliasVersions(request.OldObject.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	model.SetAnnotations(withPromoters(model.GetAnnotations(), before.GetAnnotations(), versions, versionsBefore, request.UserInfo.Username))
	raw, err := model.MarshalJSON()
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, raw)
}

// withPromoters returns annotations in which those about promotions say that the user has
// promoted the versions that are not the ones before.
func withPromoters(annotations, before, versions, versionsBefore map[string]string, user string) map[string]string {
	annotations = maps.Clone(annotations)
	maps.DeleteFunc(annotations, func(key, _ string) bool { return strings.HasPrefix(key, v1alpha1.AnnotationPromotedBy) })
	if annotations == nil {
		annotations = map[string]string{}
	}
	for alias, version := range versions {
		key := v1alpha1.AnnotationPromotedBy + alias
		promoter, known := before[key]
		if versionBefore, found := versionsBefore[alias]; !found || versionBefore != version {
			promoter, known = user, true
		}
		if known {
			annotations[key] = promoter
		}
	}
	return annotations
}

// aliasVersions returns the versions of a Model's aliases by their names.
func aliasVersions(raw []byte) (map[string]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var model struct {
		Spec struct {
			Aliases []struct{ Name, Version string } `json:"aliases"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &model); err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, alias := range model.Spec.Aliases {
		versions[alias.Name] = alias.Version
	}
	return versions, nil
}
