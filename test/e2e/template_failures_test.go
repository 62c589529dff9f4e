//go:build e2e

package e2e

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestTemplateBroken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil    func(spec *wfv1.WorkflowSpec)
		reason   string
		contains string
	}{
		"its entrypoint does not exist": {
			spoil:  func(spec *wfv1.WorkflowSpec) { spec.Entrypoint = "bake" },
			reason: v1alpha1.ReasonWorkflowFailed, contains: "bake",
		},
		"its expression cannot be evaluated": {
			spoil:  func(spec *wfv1.WorkflowSpec) { spec.Templates[0].PodSpecPatch = "{{=toJson(nothing.of.that.name)}}" },
			reason: v1alpha1.ReasonWorkflowError, contains: "PodSpecPatch",
		},
		"it returns no report": {
			spoil:  func(spec *wfv1.WorkflowSpec) { spec.Templates[0].Outputs = wfv1.Outputs{} },
			reason: v1alpha1.ReasonReportInvalid, contains: "report",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			template := copyOfTemplate(t, ns)
			works := template.Spec.DeepCopy()
			tt.spoil(&template.Spec)
			live.create(t, template)
			live.deleteAfter(t, template)

			mv, took := live.failed(t, makeVersion("own-way", ns, dir).WorkflowTemplate(ns).New())

			assertFailed(t, mv, tt.reason, tt.contains)
			logNoticed(t, mv, took)
			runCommand(t, mv.Status.Message)
			template.Spec = *works
			require.NoError(t, live.Update(t.Context(), template))
			rebuild(t, mv)
			assertImage(t, live.readyAgain(t, mv), dir)
		})
	}
}

// rebuild runs the documented command for another attempt.
func rebuild(t *testing.T, mv *v1alpha1.ModelVersion) {
	t.Helper()
	runCommand(t, "kubectl annotate mv -n "+mv.Namespace+" "+mv.Name+" "+v1alpha1.AnnotationRebuild+`="$(date +%s)" --overwrite`)
}
