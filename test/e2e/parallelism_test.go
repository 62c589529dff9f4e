//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Argo's own label limits the Workflows of a namespace, and a ModelVersion
// reports that it waits.
func TestParallelismLimit(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	run(t, "kubectl", "label", "namespace", ns, "workflows.argoproj.io/parallelism-limit=1")
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 60<<20)
	first := makeVersion("first", ns, dir).ImageTag("first").New()
	live.create(t, first)
	live.running(t, first)
	second := makeVersion("second", ns, dir).ImageTag("second").New()
	live.create(t, second)

	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var now v1alpha1.ModelVersion
		require.NoError(collect, live.Get(t.Context(), client.ObjectKeyFromObject(second), &now))
		assert.Contains(collect, now.Status.Message, "too many workflows are already running")
		assert.Equal(collect, v1alpha1.ReasonWorkflowPending, conditionReady(&now).Reason)
	}, noticeTime, tick)
	live.ready(t, first)
	live.ready(t, second)
}
