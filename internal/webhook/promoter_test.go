package webhook

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func TestPromoter(t *testing.T) {
	const byAnn, byBob, byEve = `"promoted-by.model.kubedl.io/production":"ann"`, `"promoted-by.model.kubedl.io/production":"bob"`, `"promoted-by.model.kubedl.io/production":"eve"`
	model := func(annotations, aliases string) string {
		return `{"metadata":{"name":"resnet","annotations":{` + annotations + `}},"spec":{"aliases":[` + aliases + `]}}`
	}
	const v1, v2, canary = `{"name":"production","version":"v1"}`, `{"name":"production","version":"v2"}`, `{"name":"canary","version":"v2"}`
	by := func(pairs ...string) map[string]string {
		annotations := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			annotations["promoted-by.model.kubedl.io/"+pairs[i]] = pairs[i+1]
		}
		return annotations
	}
	for name, tt := range map[string]struct {
		before, object string
		want           map[string]string
	}{
		"a new Model":                          {object: model("", v1), want: by("production", "ann")},
		"a new Model that names another user":  {object: model(byEve, v1), want: by("production", "ann")},
		"another version":                      {before: model(byBob, v1), object: model(byBob, v2), want: by("production", "ann")},
		"another version that was promoted by": {before: model(byBob, v1), object: model(byEve, v2), want: by("production", "ann")},
		"the same version":                     {before: model(byBob, v1), object: model(byBob, v1), want: by("production", "bob")},
		"the same version that names another":  {before: model(byBob, v1), object: model(byEve, v1), want: by("production", "bob")},
		"a manifest without annotations":       {before: model(byBob, v1), object: model("", v1), want: by("production", "bob")},
		"the same version, promoted by nobody": {before: model("", v1), object: model(byEve, v1), want: by()},
		"a second alias":                       {before: model(byBob, v1), object: model(byBob, v1+","+canary), want: by("production", "bob", "canary", "ann")},
		"an alias that is removed":             {before: model(byBob, v1+","+canary), object: model(byBob, canary), want: by()},
		"other annotations":                    {object: model(`"example.com/a":"b"`, ""), want: map[string]string{"example.com/a": "b"}},
		"a Model without spec":                 {object: `{"metadata":{"name":"resnet"}}`, want: by()},
	} {
		t.Run(name, func(t *testing.T) {
			request := admissionv1.AdmissionRequest{
				UserInfo: authenticationv1.UserInfo{Username: "ann"},
				Object:   runtime.RawExtension{Raw: []byte(withKind(tt.object))},
			}
			if tt.before != "" {
				request.OldObject.Raw = []byte(withKind(tt.before))
			}
			response := Promoter{}.Handle(t.Context(), admission.Request{AdmissionRequest: request})
			require.True(t, response.Allowed)
			raw, err := json.Marshal(response.Patches)
			require.NoError(t, err)
			patch, err := jsonpatch.DecodePatch(raw)
			require.NoError(t, err)
			patched, err := patch.Apply(request.Object.Raw)
			require.NoError(t, err)
			var got metav1.PartialObjectMetadata
			require.NoError(t, json.Unmarshal(patched, &got))
			if got.Annotations == nil {
				got.Annotations = map[string]string{}
			}
			assert.Equal(t, tt.want, got.Annotations)
		})
	}
	t.Run("a mistake is left to the API server", func(t *testing.T) {
		request := admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte(withKind(`{"spec":{"aliases":"production"}}`))}}
		response := Promoter{}.Handle(t.Context(), admission.Request{AdmissionRequest: request})
		assert.True(t, response.Allowed)
		assert.Empty(t, response.Patches)
	})
}

// withKind returns a Model with its kind, which decoding it requires.
func withKind(model string) string {
	return `{"apiVersion":"model.kubedl.io/v1alpha1","kind":"Model",` + model[1:]
}
