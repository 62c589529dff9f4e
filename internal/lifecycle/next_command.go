package lifecycle

import (
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
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
		return outcome.Message + ". " + allowPod(mv, outcome.Message)
	case v1alpha1.ReasonPodLost, v1alpha1.ReasonWorkflowStopped, v1alpha1.ReasonWorkflowTerminated:
		return fmt.Sprintf("%s. To build again: %s", outcome.Message, rebuildCommand(mv))
	case v1alpha1.ReasonWorkflowError:
		if strings.Contains(outcome.Message, requestAboveLimit) {
			return fmt.Sprintf("%s. A LimitRange of the namespace sets a limit below the build's request (kubectl describe limitrange -n %s). Set spec.build.resources.limits to the request or more, %s", outcome.Message, mv.Namespace, edit)
		}
		return outcome.Message + ". " + inspectCommand(wf)
	case v1alpha1.ReasonBuildFailed, v1alpha1.ReasonReportInvalid,
		v1alpha1.ReasonWorkflowFailed:
		return outcome.Message + ". " + inspectCommand(wf)
	case v1alpha1.ReasonInvalidSpec:
		return fmt.Sprintf("%s. %s", outcome.Message, workflow.FixSpec(mv))
	default:
		return fmt.Sprintf("%s. After fixing this, rebuild with: %s", outcome.Message, rebuildCommand(mv))
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

func rebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s %s="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name, v1alpha1.AnnotationRebuild)
}

// Parts of the API server's messages about a pod, by the admission plugin that
// rejects it (plugin/pkg/admission and pkg/apis/core/validation in Kubernetes 1.35).
const (
	violatesPodSecurity = "violates PodSecurity"
	quotaNeedsValues    = ": must specify "
	quotaExceeded       = "exceeded quota: "
	beyondLimitRange    = " usage per "
	requestAboveLimit   = ": must be less than or equal to "
	// OpenShift's (SecurityContextConstraint in openshift/apiserver-library-go).
	violatesConstraint = "unable to validate against any security context constraint"
)

// allowPod returns what to do about the API server's rejection of a build's pod.
func allowPod(mv *v1alpha1.ModelVersion, message string) string {
	switch {
	case strings.Contains(message, violatesConstraint):
		return fmt.Sprintf("Build with spec.build.engine Stream and files in a PersistentVolumeClaim, which OpenShift's restricted-v2 allows: kubectl edit mv -n %s %s. Or ask the platform team to allow the pod to the service account (oc adm policy add-scc-to-user anyuid -z %s -n %s), then build again: %s", mv.Namespace, mv.Name, contract.BuildServiceAccount, mv.Namespace, rebuildCommand(mv))
	case strings.Contains(message, violatesPodSecurity):
		return fmt.Sprintf("Create a new ModelVersion with files in another kind of storage or in another namespace, or ask the platform team to change the Pod Security level of the namespace (kubectl get namespace %s --show-labels) and build again: %s", mv.Namespace, rebuildCommand(mv))
	case strings.Contains(message, quotaNeedsValues):
		return fmt.Sprintf("The quota applies to every container of the pod. Create a LimitRange in namespace %s with default requests and limits for what the quota counts, for example default: {cpu: 500m, memory: 256Mi}, then build again: %s", mv.Namespace, rebuildCommand(mv))
	case strings.Contains(message, quotaExceeded):
		return fmt.Sprintf("Free resources in namespace %s (kubectl describe quota -n %s), or ask the platform team to raise the quota, then build again: %s", mv.Namespace, mv.Namespace, rebuildCommand(mv))
	case strings.Contains(message, beyondLimitRange):
		return fmt.Sprintf("A LimitRange of the namespace restricts resources (kubectl describe limitrange -n %s). Set spec.build.resources to values that it allows, which starts a new attempt: kubectl edit mv -n %s %s", mv.Namespace, mv.Namespace, mv.Name)
	default:
		return fmt.Sprintf("Ask the platform team to allow the pod, then build again: %s", rebuildCommand(mv))
	}
}
