//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// logOf runs a pod to its end and returns what its container printed.
func (c *cluster) logOf(t *testing.T, namespace string, spec corev1.PodSpec) string {
	t.Helper()
	spec.RestartPolicy = corev1.RestartPolicyNever
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Namespace: namespace}, Spec: spec}
	c.create(t, pod)
	c.deleteAfter(t, pod)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var now corev1.Pod
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(pod), &now))
		require.Contains(collect, []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed}, now.Status.Phase, "%+v", now.Status.ContainerStatuses)
	}, 2*time.Minute, tick)
	out := run(t, "kubectl", "logs", "-n", namespace, pod.Name)
	var now corev1.Pod
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), &now))
	require.Equal(t, corev1.PodSucceeded, now.Status.Phase, "the pod says: %s", out)
	return out
}
