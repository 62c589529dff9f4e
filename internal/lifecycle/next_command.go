package lifecycle

import (
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// withNextCommand returns the message of a failed Workflow with what to do about
// it at its end.
func withNextCommand(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, outcome Outcome) string {
	edit := fmt.Sprintf("which starts a new attempt: kubectl edit mv -n %s %s", mv.Namespace, mv.Name)
	switch outcome.Reason {
	case v1alpha1.ReasonTagTaken:
		return outcome.Message + ". Create a new ModelVersion with another imageTag"
	case v1alpha1.ReasonSourceChanged, v1alpha1.ReasonSourceForbidden:
		return outcome.Message + ". Create a new ModelVersion"
	case v1alpha1.ReasonOutOfMemory:
		return fmt.Sprintf("%s. Raise spec.build.resources.limits.memory, %s", outcome.Message, edit)
	case v1alpha1.ReasonEvicted:
		return fmt.Sprintf("%s. Raise ephemeral-storage in spec.build.resources (Kaniko needs twice the model's size), %s", outcome.Message, edit)
	case v1alpha1.ReasonDeadlineExceeded:
		return fmt.Sprintf("%s. Raise spec.build.deadlineSeconds, %s", outcome.Message, edit)
	case v1alpha1.ReasonPodForbidden:
		return fmt.Sprintf("%s. %s, then build again: %s", outcome.Message, allowPod(mv, outcome.Message), RebuildCommand(mv))
	case v1alpha1.ReasonPodLost, v1alpha1.ReasonWorkflowStopped, v1alpha1.ReasonWorkflowTerminated:
		return fmt.Sprintf("%s. To build again: %s", outcome.Message, RebuildCommand(mv))
	case v1alpha1.ReasonWorkflowError:
		if strings.Contains(outcome.Message, requestAboveLimit) {
			return fmt.Sprintf("%s. %s", outcome.Message, raiseLimit(mv, outcome.Message))
		}
		return outcome.Message + ". " + inspectCommand(wf)
	case v1alpha1.ReasonBuildFailed, v1alpha1.ReasonReportInvalid,
		v1alpha1.ReasonWorkflowFailed:
		return outcome.Message + ". " + inspectCommand(wf)
	case v1alpha1.ReasonInvalidSpec:
		return fmt.Sprintf("%s. %s", outcome.Message, workflow.FixSpec(mv))
	default:
		return fmt.Sprintf("%s. After fixing this, rebuild with: %s", outcome.Message, RebuildCommand(mv))
	}
}

// inspectCommand returns the command that shows the log of a build that had a
// pod, or what Argo knows about one that had none, or whose nodes it hides.
func inspectCommand(wf *wfv1.Workflow) string {
	if HidesNodes(wf) {
		return fmt.Sprintf("Argo keeps the steps of the Workflow in a database. To see them: argo get -n %s %s", wf.Namespace, wf.Name)
	}
	for _, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer {
			return fmt.Sprintf("To see its log: kubectl logs -n %s -l workflows.argoproj.io/workflow=%s --all-containers --tail=50", wf.Namespace, wf.Name)
		}
	}
	return fmt.Sprintf("To see what Argo reports: kubectl describe wf -n %s %s", wf.Namespace, wf.Name)
}

// RebuildCommand returns the command that requests another attempt of a ModelVersion.
func RebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s %s="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name, v1alpha1.AnnotationRebuild)
}
