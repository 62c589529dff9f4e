package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// readManifest decodes the documents of one kind in a file under deploy.
func readManifest[T any](t *testing.T, file, kind string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../deploy", file))
	require.NoError(t, err)
	var found []T
	for _, document := range strings.Split(string(raw), "\n---\n") {
		var meta metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal([]byte(document), &meta))
		if meta.Kind == kind {
			var object T
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object))
			found = append(found, object)
		}
	}
	require.NotEmpty(t, found, "%s has no %s", file, kind)
	return found
}

func operatorDeployment(t *testing.T) appsv1.Deployment {
	t.Helper()
	return readManifest[appsv1.Deployment](t, "manager/deployment.yaml", "Deployment")[0]
}

// Go's limit leaves a tenth of the memory for what is not its heap.
func TestDeploymentMemoryLimits(t *testing.T) {
	containers := operatorDeployment(t).Spec.Template.Spec.Containers
	require.NotEmpty(t, containers)
	for _, container := range containers {
		limit := container.Resources.Limits.Memory().Value()
		want := resource.NewQuantity(limit/10*9>>20<<20, resource.BinarySI)
		assert.Contains(t, container.Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: want.String() + "B"})
	}
}

// Without the operator, pods that train or serve a model are rejected.
func TestDeploymentHighAvailability(t *testing.T) {
	deployment := operatorDeployment(t)
	pod := deployment.Spec.Template
	selected := func(selector *metav1.LabelSelector) bool {
		matches, err := metav1.LabelSelectorAsSelector(selector)
		require.NoError(t, err)
		return !matches.Empty() && matches.Matches(labels.Set(pod.Labels))
	}
	assert.Equal(t, ptr.To[int32](2), deployment.Spec.Replicas)

	budget := readManifest[policyv1.PodDisruptionBudget](t, "manager/disruption_budget.yaml", "PodDisruptionBudget")[0]
	assert.Equal(t, deployment.Namespace, budget.Namespace)
	assert.True(t, selected(budget.Spec.Selector))
	require.NotNil(t, budget.Spec.MinAvailable)
	assert.Equal(t, 1, budget.Spec.MinAvailable.IntValue())

	require.Len(t, pod.Spec.TopologySpreadConstraints, 1)
	spread := pod.Spec.TopologySpreadConstraints[0]
	assert.True(t, selected(spread.LabelSelector))
	assert.Equal(t, corev1.ScheduleAnyway, spread.WhenUnsatisfiable, "a cluster may have one node")

	priority := readManifest[schedulingv1.PriorityClass](t, "manager/priority_class.yaml", "PriorityClass")[0]
	assert.Equal(t, priority.Name, pod.Spec.PriorityClassName)
	assert.False(t, priority.GlobalDefault)
}

// A webhook call that has begun when the replica is terminated is finished.
func TestDeploymentTerminationGracePeriod(t *testing.T) {
	pod := operatorDeployment(t).Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	pause := pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	assert.Positive(t, pause)

	timeouts := map[string]*int32{}
	for _, configuration := range readManifest[admissionregistrationv1.MutatingWebhookConfiguration](t, "webhook/configuration.yaml", "MutatingWebhookConfiguration") {
		for _, webhook := range configuration.Webhooks {
			timeouts[webhook.Name] = webhook.TimeoutSeconds
		}
	}
	for _, configuration := range readManifest[admissionregistrationv1.ValidatingWebhookConfiguration](t, "webhook/workloads.yaml", "ValidatingWebhookConfiguration") {
		for _, webhook := range configuration.Webhooks {
			timeouts[webhook.Name] = webhook.TimeoutSeconds
		}
	}
	for name, timeout := range timeouts {
		require.NotNil(t, timeout, name)
		assert.Less(t, pause+int64(*timeout), *pod.TerminationGracePeriodSeconds, name)
	}
}

// The columns of the Argo UI show labels of Workflows.
func TestArgoColumns(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/argo/workflow-controller-configmap.yaml")
	require.NoError(t, err)
	var cm corev1.ConfigMap
	require.NoError(t, yaml.Unmarshal(raw, &cm))
	var columns []struct{ Key string }
	require.NoError(t, yaml.Unmarshal([]byte(cm.Data["columns"]), &columns))
	var got []string
	for _, column := range columns {
		got = append(got, column.Key)
	}
	assert.Equal(t, []string{v1alpha1.LabelModelName, v1alpha1.LabelModelVersion, v1alpha1.LabelAttempt, v1alpha1.LabelReason}, got)
}
