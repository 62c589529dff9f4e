package docs

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Go's limit leaves a tenth of the memory for what is not its heap.
func TestDeploymentMemoryLimits(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/manager/deployment.yaml")
	require.NoError(t, err)
	found := false
	for _, document := range strings.Split(string(raw), "\n---\n") {
		var deployment appsv1.Deployment
		require.NoError(t, yaml.Unmarshal([]byte(document), &deployment))
		for _, container := range deployment.Spec.Template.Spec.Containers {
			found = true
			limit := container.Resources.Limits.Memory().Value()
			want := resource.NewQuantity(limit/10*9>>20<<20, resource.BinarySI)
			assert.Contains(t, container.Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: want.String() + "B"})
		}
	}
	assert.True(t, found)
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
