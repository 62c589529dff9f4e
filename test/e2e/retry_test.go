//go:build e2e

package e2e

import (
	"net/http"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

func TestTransientFailureIsRetried(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	registry := live.proxiedRegistry(t, proxy.CloseUploads)

	began := time.Now()
	mv := registry.makeVersion(t, "again", ns, dir).New()
	live.create(t, mv)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		mv = live.refresh(t, mv)
		require.Equal(collect, v1alpha1.ReasonRetrying, conditionReady(mv).Reason, mv.Status.Message)
	}, buildTime, tick)
	logNoticed(t, mv, time.Since(began))
	registry.Repair()

	mv = live.ready(t, mv)
	registry.assertImage(t, mv, dir)
	assert.Equal(t, int64(1), mv.Status.Attempts, "it is one attempt, and one Workflow")
	assert.Greater(t, live.podCount(t, mv), 1)
}

// podCount returns how many pods the ModelVersion's Workflow has had.
func (c *cluster) podCount(t *testing.T, mv *v1alpha1.ModelVersion) int {
	t.Helper()
	pods := 0
	for _, node := range c.workflow(t, mv).Status.Nodes {
		if node.Type == wfv1.NodeTypePod {
			pods++
		}
	}
	return pods
}

func TestRegistryUnauthorized(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	registry := live.proxiedRegistry(t, proxy.ReadOnly(http.StatusForbidden))

	mv, took := live.failed(t, registry.makeVersion(t, "once", ns, model(t)).New())

	assertFailed(t, mv, v1alpha1.ReasonRegistryUnauthorized, "403")
	logNoticed(t, mv, took)
	assert.Equal(t, 1, live.podCount(t, mv))
}

// Draining a node evicts its pods.
func TestNodeDrained(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 400_000_000)
	mv := makeVersion("drained", ns, dir).New()
	live.create(t, mv)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		mv = live.refresh(t, mv)
		require.NotNil(collect, mv.Status.Workflow)
		require.NotNil(collect, mv.Status.Workflow.ProgressPercent, mv.Status.Message)
	}, buildTime, tick)
	pods, err := live.podsOf(t.Context(), ns, mv.Status.Workflow.Name)
	require.NoError(t, err)
	require.Len(t, pods, 1)

	require.NoError(t, live.SubResource("eviction").Create(t.Context(), &pods[0], &policyv1.Eviction{}))

	mv = live.ready(t, mv)
	assertImage(t, mv, dir)
	assert.Equal(t, int64(1), mv.Status.Attempts)
	after, err := live.podsOf(t.Context(), ns, mv.Status.Workflow.Name)
	require.NoError(t, err)
	assert.NotContains(t, uids(after[len(after)-1:]), pods[0].UID)
}

func uids(pods []corev1.Pod) (all []any) {
	for i := range pods {
		all = append(all, pods[i].UID)
	}
	return all
}
