//go:build e2e

package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

func TestModelDeletion(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	built := live.built(t, makeVersion("built", ns, model(t)).New())
	large := newDirectory(t)
	large.random(t, "weights.bin", 100<<20)
	building := makeVersion("building", ns, large).New()
	live.create(t, building)
	live.running(t, building)

	run(t, "kubectl", "delete", "model", built.Spec.ModelName, "-n", ns)

	live.awaitNothingLeft(t, ns)
	// Pods are not watched: Argo creates a pod again when it sees that the pod
	// is gone before it sees that the Workflow is, and removes that one too.
	live.assertNothingAppears(t, ns, 10*time.Second, &v1alpha1.ModelList{}, &v1alpha1.ModelVersionList{}, &wfv1.WorkflowList{})
	live.awaitNothingLeft(t, ns)
	assert.Equal(t, built.Status.Digest, content.Digest(t, built.Status.Image), "images outlive their objects")
}

// awaitNothingLeft waits until nothing of a Model is left in a namespace.
func (c *cluster) awaitNothingLeft(t *testing.T, namespace string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		for _, list := range []client.ObjectList{&v1alpha1.ModelList{}, &v1alpha1.ModelVersionList{}, &wfv1.WorkflowList{}, &corev1.PodList{}} {
			require.NoError(collect, c.List(t.Context(), list, client.InNamespace(namespace)))
			assert.Zero(collect, meta.LenList(list), "%T still has some", list)
		}
	}, buildTime, tick)
}

// assertNothingAppears watches a namespace for a while and checks that nothing
// is created.
func (c *cluster) assertNothingAppears(t *testing.T, namespace string, during time.Duration, kinds ...client.ObjectList) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	var watches sync.WaitGroup
	for _, kind := range kinds {
		events, err := c.Watch(ctx, kind, client.InNamespace(namespace))
		require.NoError(t, err)
		watches.Go(func() {
			for event := range events.ResultChan() {
				assert.NotEqual(t, watch.Added, event.Type, "%v", event.Object)
			}
		})
	}
	watches.Wait()
}
