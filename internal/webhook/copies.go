package webhook

import (
	"context"
	"encoding/json"
	"net/http"

	"gomodules.xyz/jsonpatch/v2"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// CopiesPath is the URL path for Workflows of ModelVersions that are being created.
const CopiesPath = "/copies"

// Copies removes the status of a Workflow that is being created. The copy that
// `argo resubmit` creates has the stored templates of the original, and with
// --memoized its nodes. Argo would run a stored template instead of the one of the
// ClusterWorkflowTemplate, and believe what the nodes report, even if a user wrote them.
// Without a status, the copy is a new build with the template as it is now.
type Copies struct{}

// Handle removes the status.
func (Copies) Handle(_ context.Context, request admission.Request) admission.Response {
	var workflow struct {
		Status map[string]json.RawMessage `json:"status"`
	}
	if err := json.Unmarshal(request.Object.Raw, &workflow); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if workflow.Status == nil {
		return admission.Allowed("")
	}
	return admission.Patched("", jsonpatch.NewOperation("remove", "/status", nil))
}
