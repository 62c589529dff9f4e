package workflow

import (
	"maps"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Pods are the platform team's settings of all pods that build images.
type Pods struct {
	// Labels and Annotations are added to the template's, and override its defaults.
	Labels, Annotations map[string]string
	// Env are environment variables of the containers that access registries.
	Env map[string]string
	// ImagePullSecrets are names of Secrets in the namespace of the build.
	ImagePullSecrets []string
	// PriorityClassName is the name of a PriorityClass, or empty.
	PriorityClassName string
	// Requests and Limits are those of every container except build, Argo's own
	// included. What they do not set is left to the template.
	Requests, Limits map[corev1.ResourceName]resource.Quantity
}

// arguments returns the arguments of these settings.
func (p Pods) arguments() map[string]string {
	return map[string]string{
		contract.ParamPodLabels:         formatPairs(p.Labels),
		contract.ParamPodAnnotations:    formatLines(p.Annotations),
		contract.ParamEnv:               formatLines(p.Env),
		contract.ParamImagePullSecrets:  strings.Join(p.ImagePullSecrets, ","),
		contract.ParamPriorityClassName: p.PriorityClassName,
		contract.ParamOtherRequests:     formatResources(p.Requests),
		contract.ParamOtherLimits:       formatResources(p.Limits),
	}
}

// formatLines returns values that can contain commas as lines of NAME=VALUE.
func formatLines(values map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, name+"="+values[name])
	}
	return strings.Join(lines, "\n")
}

// UsesEnvOf reports whether the steps of a Workflow have no other environment
// variables than these. A proxy of a user's choice could answer in the registry's
// place.
func UsesEnvOf(wf *wfv1.Workflow, pods Pods) bool {
	for line := range strings.SplitSeq(Argument(wf, contract.ParamEnv), "\n") {
		name, value, _ := strings.Cut(line, "=")
		if configured, found := pods.Env[name]; line != "" && (!found || configured != value) {
			return false
		}
	}
	return true
}
