//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// TestRetriedAtOnce retries twenty builds the moment that their ModelVersion fails, as
// programs do. Argo may still be ending the Workflow and its pod, and the operator be
// terminating it.
func TestRetriedAtOnce(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	for i := range 20 {
		// The pod of every second one has started.
		path, reason := "missing", v1alpha1.ReasonSourceMissing
		if i%2 == 1 {
			path, reason = ".", v1alpha1.ReasonSourceEmpty
		}
		t.Run(fmt.Sprintf("%d %s", i, reason), func(t *testing.T) {
			t.Parallel()
			dir := directory(newDirectory(t).at(path))
			version := fmt.Sprintf("early-%d", i)
			failed, _ := live.failed(t, makeVersion(version, ns, dir).Model(version).Engine(v1alpha1.Stream).New())
			assertFailed(t, failed, reason, string(dir))
			dir.write(t, "model.bin", "weights")

			began := time.Now()
			// Argo refuses to retry what has not ended.
			require.EventuallyWithT(t, func(collect *assert.CollectT) {
				assert.NoError(collect, live.press(t.Context(), "retry", ns, failed.Status.Workflow.Name))
			}, noticeTime, tick)
			retried := time.Since(began)
			// A failure that was reported before Argo has written when the Workflow began
			// looks new when it does, so a failure does not end the wait.
			var mv *v1alpha1.ModelVersion
			require.EventuallyWithT(t, func(collect *assert.CollectT) {
				mv = live.refresh(t, failed)
				require.Equal(collect, v1alpha1.ImageBuildSucceeded, mv.Status.ImageBuildPhase, mv.Status.Message)
			}, buildTime, tick)
			t.Logf("figure: retried after %.1f s, Ready after %.1f s", retried.Seconds(), time.Since(began).Seconds())
			// Argo may lose a Workflow, and another attempt replaces it.
			assert.LessOrEqual(t, mv.Status.Attempts, int64(2))
			assert.Len(t, live.workflowsOf(t, mv), 1)
		})
	}
}
