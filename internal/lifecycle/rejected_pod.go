package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Parts of the API server's messages about a pod, by the admission plugin that
// rejects it (plugin/pkg/admission, pkg/quota and pkg/apis/core/validation in
// Kubernetes 1.35).
const (
	violatesPodSecurity = "violates PodSecurity"
	quotaNeedsValues    = ": must specify "
	quotaExceeded       = "exceeded quota: "
	usageOutOfRange     = " usage per "
	ratioOutOfRange     = " limit to request ratio per "
	noPriorityClass     = "no PriorityClass with name "
	requestAboveLimit   = ": must be less than or equal to "
	// OpenShift's (SecurityContextConstraint in openshift/apiserver-library-go).
	violatesConstraint = "unable to validate against any security context constraint"
)

// buildContainer is the path of the container build in the pods of the shipped
// templates, after Argo's wait and mount-check.
const buildContainer = "spec.containers[2]."

// allowPod returns what to do about the API server's rejection of a build's pod,
// without the command that builds again.
func allowPod(mv *v1alpha1.ModelVersion, message string) string {
	switch {
	case strings.Contains(message, violatesConstraint):
		return fmt.Sprintf("Build with spec.build.engine Stream and files in a PersistentVolumeClaim, which OpenShift's restricted-v2 allows: kubectl edit mv -n %s %s. Or ask the platform team to allow the pod to the service account (oc adm policy add-scc-to-user anyuid -z %s -n %s)", mv.Namespace, mv.Name, contract.BuildServiceAccount, mv.Namespace)
	case strings.Contains(message, violatesPodSecurity):
		return fmt.Sprintf("Create a new ModelVersion with files in another kind of storage or in another namespace, or ask the platform team to change the Pod Security level of the namespace (kubectl get namespace %s --show-labels)", mv.Namespace)
	case strings.Contains(message, quotaNeedsValues):
		return fmt.Sprintf("The quota applies to every container of the pod. Create a LimitRange in namespace %s with a default for what the quota counts, %s, or ask the platform team to set limits and buildPods.otherLimits in the operator's configuration", mv.Namespace, exampleOfDefaults(message))
	case strings.Contains(message, quotaExceeded):
		return freeQuota(mv, message)
	case strings.Contains(message, usageOutOfRange), strings.Contains(message, ratioOutOfRange):
		return fmt.Sprintf("A LimitRange of the namespace restricts resources (kubectl describe limitrange -n %s). Set spec.build.resources to values that it allows (kubectl edit mv -n %s %s). If they are, another container is meant: ask the platform team to set buildPods.otherRequests and buildPods.otherLimits in the operator's configuration", mv.Namespace, mv.Namespace, mv.Name)
	case strings.Contains(message, noPriorityClass):
		return "Ask the platform team to create the PriorityClass, or to correct buildPods.priorityClassName in the operator's configuration"
	default:
		return "Ask the platform team to allow the pod"
	}
}

// freeQuota returns what to do about a quota that is used up, or smaller than the pod.
func freeQuota(mv *v1alpha1.ModelVersion, message string) string {
	free := fmt.Sprintf("Free resources in namespace %s (kubectl describe quota -n %s), ", mv.Namespace, mv.Namespace)
	counts := func(resource string) bool { return strings.Contains(message, resource+"=") }
	if slices.ContainsFunc([]string{"cpu", "memory", "ephemeral-storage"}, counts) {
		free += fmt.Sprintf("lower spec.build.resources (kubectl edit mv -n %s %s), ", mv.Namespace, mv.Name)
	}
	return free + "or ask the platform team to raise the quota"
}

// examples are values that let the containers of a build work which do not build.
var examples = []struct{ resource, value string }{
	{"cpu", "500m"}, {"memory", "256Mi"}, {"ephemeral-storage", "2Gi"},
}

// exampleOfDefaults returns an example of a LimitRange's defaults for the resources of
// which a quota misses values: "failed quota: q: must specify limits.cpu for: init;
// limits.memory for: init".
func exampleOfDefaults(message string) string {
	_, missing, _ := strings.Cut(message, quotaNeedsValues)
	var defaults []string
	for _, example := range examples {
		if strings.Contains(missing, example.resource) {
			defaults = append(defaults, example.resource+": "+example.value)
		}
	}
	if len(defaults) == 0 {
		return "which kubectl describe quota lists"
	}
	return "for example default: {" + strings.Join(defaults, ", ") + "}"
}

// raiseLimit returns what to do about a container whose request is above the limit that
// a LimitRange gives it.
func raiseLimit(mv *v1alpha1.ModelVersion, message string) string {
	var ways []string
	if strings.Contains(message, buildContainer) {
		ways = append(ways, fmt.Sprintf("Set spec.build.resources.limits to the request of the container %s or more, which starts a new attempt: kubectl edit mv -n %s %s", contract.StepBuild, mv.Namespace, mv.Name))
	}
	if others := strings.ReplaceAll(message, buildContainer, ""); strings.Contains(others, "ontainers[") || len(ways) == 0 {
		ways = append(ways, fmt.Sprintf("Ask the platform team to set buildPods.otherLimits in the operator's configuration, or to raise the default of the LimitRange, then build again: %s", RebuildCommand(mv)))
	}
	return fmt.Sprintf("A LimitRange of the namespace sets a limit below a request (kubectl describe limitrange -n %s). %s", mv.Namespace, strings.Join(ways, ". "))
}
