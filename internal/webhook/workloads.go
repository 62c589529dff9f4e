package webhook

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/apierr"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// WorkloadsPath is the URL path for workloads with a ModelVersion template.
const WorkloadsPath = "/workloads"

// Workloads rejects a workload with a template from which no ModelVersion could be
// created, before the workload trains for hours.
type Workloads struct {
	// Client creates the ModelVersion in a dry run: only the API server knows all
	// rules.
	Client client.Client
	// Options are the operator's options.
	Options workflow.Options
}

// Handle allows a workload if its ModelVersion could be created.
func (h *Workloads) Handle(ctx context.Context, request admission.Request) admission.Response {
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(request.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode the workload: %w", err))
	}
	object.SetNamespace(request.Namespace)
	mv, problem := lifecycle.FromTemplate(object, h.Options)
	if problem != nil {
		return admission.Denied(problem.Message)
	}
	if workload.LacksTrainLabel(object) {
		warnf(ctx, "no pod template of %s has the label %s: the pods do not get the storage of the ModelVersion. Unless they write to it themselves, add the label to the pod template, with an empty value", object.GetKind(), v1alpha1.LabelTrainVersion)
	}
	err := h.Client.Create(ctx, mv, client.DryRunAll)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return admission.Allowed("")
	case apierr.IsRejected(err):
		return admission.Denied(lifecycle.TemplateRejected(err.Error()).Message)
	default:
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("create ModelVersion %q in a dry run: %w", mv.Name, err))
	}
}
