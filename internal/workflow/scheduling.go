package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// SchedulingRules are what a platform team allows ModelVersions to say about the
// nodes of their builds.
type SchedulingRules struct {
	// Tolerations lists the keys of taints that spec.build.tolerations may tolerate.
	// A toleration without a key, which matches every taint, is not allowed then. If
	// empty, all.
	Tolerations []string
	// NodeSelectors lists the keys of labels that spec.build.nodeSelector may name.
	// If empty, all.
	NodeSelectors []string
}

// checkScheduling returns the Problem of a ModelVersion whose tolerations or node
// selector the platform team does not allow, or nil.
func checkScheduling(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	if mv.Spec.Build == nil {
		return nil
	}
	if allowed := opts.Scheduling.Tolerations; len(allowed) > 0 {
		for _, toleration := range mv.Spec.Build.Tolerations {
			if !slices.Contains(allowed, toleration.Key) {
				return schedulingProblem(mv, fmt.Sprintf("Builds may not tolerate taints with the key %q (allowedTolerations)", toleration.Key), "spec.build.tolerations", allowed)
			}
		}
	}
	if allowed := opts.Scheduling.NodeSelectors; len(allowed) > 0 {
		for _, key := range slices.Sorted(maps.Keys(mv.Spec.Build.NodeSelector)) {
			if !slices.Contains(allowed, key) {
				return schedulingProblem(mv, fmt.Sprintf("Builds may not select nodes by the label %q (allowedNodeSelectors)", key), "spec.build.nodeSelector", allowed)
			}
		}
	}
	return nil
}

func schedulingProblem(mv *v1alpha1.ModelVersion, what, field string, allowed []string) *Problem {
	return &Problem{v1alpha1.ReasonSchedulingForbidden, fmt.Sprintf("%s. Use only %s in %s, or remove it: kubectl edit mv -n %s %s. Or ask the platform team to allow it", what, strings.Join(allowed, " and "), field, mv.Namespace, mv.Name)}
}
