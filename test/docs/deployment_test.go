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
