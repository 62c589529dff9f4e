//go:build e2e

package e2e

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A quota that counts limits admits the pod, which has everything that the parameters
// set, and the build succeeds with it.
func TestPodSettings(t *testing.T) {
	t.Parallel()
	s := live.submitter(t)
	// The pods of other tests have no priority, and must not be preempted.
	priority := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}, Value: 7, PreemptionPolicy: ptr.To(corev1.PreemptNever)}
	live.create(t, priority)
	live.deleteAfter(t, priority)
	live.create(t, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "compute"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourceLimitsCPU: resource.MustParse("8"), corev1.ResourceLimitsMemory: resource.MustParse("16Gi"),
		}},
	})

	name, err := s.submit(t.Context(), model(t), map[string]string{
		contract.ParamPodLabels:         "team=vision,sidecar.istio.io/inject=true,workflows.argoproj.io/completed=true",
		contract.ParamPodAnnotations:    "example.com/contact=vision team, room 7\nkarpenter.sh/do-not-disrupt=false",
		contract.ParamEnv:               "HTTPS_PROXY=http://127.0.0.1:9\nNO_PROXY=*",
		contract.ParamImagePullSecrets:  "none",
		contract.ParamPriorityClassName: priority.Name,
		contract.ParamLimits:            "cpu=2,memory=1Gi",
		contract.ParamOtherRequests:     "cpu=20m",
		contract.ParamOtherLimits:       "cpu=1,memory=512Mi",
	})
	require.NoError(t, err)
	wf := live.finished(t, s.namespace, name)
	require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)

	var pods corev1.PodList
	require.NoError(t, live.List(t.Context(), &pods, client.InNamespace(s.namespace), client.MatchingLabels{workflowLabel: name}))
	require.Len(t, pods.Items, 1)
	pod := pods.Items[0]
	assert.Subset(t, pod.Labels, map[string]string{"team": "vision", "sidecar.istio.io/inject": "true", "app.kubernetes.io/component": "build"})
	assert.Subset(t, pod.Annotations, map[string]string{
		"example.com/contact": "vision team, room 7", "karpenter.sh/do-not-disrupt": "false",
		"linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false",
	})
	assert.Equal(t, priority.Name, pod.Spec.PriorityClassName)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "none"}}, pod.Spec.ImagePullSecrets)
	for _, container := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
		assert.False(t, container.Resources.Limits.Cpu().IsZero(), container.Name)
		assert.False(t, container.Resources.Limits.Memory().IsZero(), container.Name)
		switch container.Name {
		case contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport:
			assert.Contains(t, container.Env, corev1.EnvVar{Name: "NO_PROXY", Value: "*"}, container.Name)
		}
	}
}
