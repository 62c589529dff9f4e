//go:build e2e

package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Both replicas of the operator are replaced, as in an upgrade, and one of them is
// deleted, as when its node is drained. The webhook answers each call.
func TestRolloutAnswersEachCall(t *testing.T) {
	ns := live.namespace(t)
	const answer = `ModelVersion "none" not found`
	call := func(ctx context.Context) error {
		return live.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "train-", Labels: map[string]string{v1alpha1.LabelTrainVersion: "none"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "train", Image: "registry.example.com/train"}}},
		}, client.DryRunAll)
	}
	require.ErrorContains(t, call(t.Context()), answer)

	ctx, stop := context.WithCancel(t.Context())
	var calls atomic.Int64
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			if err := call(ctx); ctx.Err() == nil {
				assert.ErrorContains(t, err, answer)
				calls.Add(1)
			}
		}
	})
	rollOut := func() {
		run(t, "kubectl", "rollout", "status", "deployment", operator, "-n", operatorNamespace, "--timeout=2m")
		require.NoError(t, live.awaitTerminated(t.Context(), operatorNamespace))
	}
	run(t, "kubectl", "rollout", "restart", "deployment", operator, "-n", operatorNamespace)
	rollOut()
	var pods corev1.PodList
	require.NoError(t, live.List(t.Context(), &pods, client.InNamespace(operatorNamespace)))
	require.Len(t, pods.Items, 2)
	require.NoError(t, live.Delete(t.Context(), &pods.Items[0]))
	rollOut()
	stop()
	load.Wait()
	assert.Positive(t, calls.Load())
	t.Logf("figure: %d calls", calls.Load())
}
