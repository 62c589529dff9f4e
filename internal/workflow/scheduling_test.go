package workflow_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestSchedulingRules(t *testing.T) {
	gpu := v1alpha1.Toleration{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}
	everything := v1alpha1.Toleration{Operator: corev1.TolerationOpExists}
	rules := workflow.SchedulingRules{Tolerations: []string{"nvidia.com/gpu", "dedicated"}, NodeSelectors: []string{"disktype"}}
	for name, tc := range map[string]struct {
		build *v1alpha1.Build
		rules workflow.SchedulingRules
		want  string // empty: allowed
	}{
		"no build":             {nil, rules, ""},
		"no rules":             {&v1alpha1.Build{Tolerations: []v1alpha1.Toleration{everything}, NodeSelector: map[string]v1alpha1.NodeLabelValue{"a": "b"}}, workflow.SchedulingRules{}, ""},
		"an allowed taint":     {&v1alpha1.Build{Tolerations: []v1alpha1.Toleration{gpu}}, rules, ""},
		"an allowed selector":  {&v1alpha1.Build{NodeSelector: map[string]v1alpha1.NodeLabelValue{"disktype": "ssd"}}, rules, ""},
		"only a selector rule": {&v1alpha1.Build{Tolerations: []v1alpha1.Toleration{everything}}, workflow.SchedulingRules{NodeSelectors: rules.NodeSelectors}, ""},
		"every taint": {
			&v1alpha1.Build{Tolerations: []v1alpha1.Toleration{gpu, everything}}, rules,
			`Builds may not tolerate taints with the key "" (allowedTolerations). Use only nvidia.com/gpu and dedicated in spec.build.tolerations, or remove it: kubectl edit mv -n default mv-3. Or ask the platform team to allow it`,
		},
		"another selector": {
			&v1alpha1.Build{NodeSelector: map[string]v1alpha1.NodeLabelValue{"disktype": "ssd", "zone": "a", "kubernetes.io/hostname": "b"}}, rules,
			`Builds may not select nodes by the label "kubernetes.io/hostname" (allowedNodeSelectors). Use only disktype in spec.build.nodeSelector, or remove it: kubectl edit mv -n default mv-3. Or ask the platform team to allow it`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := config.Default().Options()
			opts.Scheduling = tc.rules
			mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
			mv.Spec.Build = tc.build

			_, problem := workflow.New(mv, workflow.Attempt{Number: 1}, opts)
			if tc.want == "" {
				require.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, v1alpha1.ReasonSchedulingForbidden, problem.Reason)
			assert.Equal(t, tc.want, problem.Message)
		})
	}
}
