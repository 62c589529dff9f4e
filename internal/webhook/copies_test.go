package webhook

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func TestCopies(t *testing.T) {
	remove := []jsonpatch.JsonPatchOperation{jsonpatch.NewOperation("remove", "/status", nil)}
	for name, tc := range map[string]struct {
		object  string
		patches []jsonpatch.JsonPatchOperation
		allowed bool
	}{
		"a new Workflow":     {object: `{"metadata":{"name":"a"}}`, allowed: true},
		"a null status":      {object: `{"status":null}`, allowed: true},
		"an empty status":    {object: `{"status":{}}`, allowed: true, patches: remove},
		"a stored template":  {object: `{"status":{"storedTemplates":{"cluster/modelkiln-build/build":{}}}}`, allowed: true, patches: remove},
		"nodes":              {object: `{"status":{"phase":"Running","nodes":{"a":{"phase":"Succeeded"}}}}`, allowed: true, patches: remove},
		"a malformed status": {object: `{"status":"Succeeded"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := Copies{}.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte(tc.object)}}})
			assert.Equal(t, tc.allowed, got.Allowed)
			assert.Equal(t, tc.patches, got.Patches)
			if !tc.allowed {
				require.NotNil(t, got.Result)
			}
		})
	}
}
