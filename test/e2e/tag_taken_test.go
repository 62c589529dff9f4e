//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

func TestTagTaken(t *testing.T) {
	t.Parallel()
	ns, elsewhere := live.namespace(t), live.namespace(t)
	first, second := newDirectory(t), newDirectory(t)
	first.random(t, "weights.bin", 100<<20)
	second.random(t, "weights.bin", 1<<20)
	claim := func(name, namespace string, from directory) *v1alpha1.ModelVersion {
		return makeVersion(name, namespace, from).ImageRepo("e2e/" + ns).ImageTag("v1").New()
	}
	holder := claim("holder", ns, first)
	live.create(t, holder)
	holder = live.running(t, holder)

	rival := live.waits(t, claim("rival", ns, second), v1alpha1.ReasonWorkflowPending)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		assert.Contains(collect, live.refresh(t, rival).Status.Message, "lock")
	}, noticeTime, tick)

	holder = live.ready(t, holder)
	assertImage(t, holder, first)
	rival = live.settled(t, rival, func(*v1alpha1.ModelVersion) bool { return true })
	assertFailed(t, rival, v1alpha1.ReasonTagTaken, holder.Status.Image)

	// The message names the holder, as the image's labels do, which everyone can read who
	// can push there. It does not name the namespace, to which the reader may have no
	// access.
	stranger, took := live.failed(t, claim("stranger", elsewhere, second))
	assertFailed(t, stranger, v1alpha1.ReasonTagTaken, holder.Status.Image)
	logNoticed(t, stranger, took)
	assert.Contains(t, stranger.Status.Message, `ModelVersion "holder"`)
	assert.Contains(t, stranger.Status.Message, string(holder.UID))
	assert.Contains(t, stranger.Status.Message, "crane delete "+holder.Status.Image)
	assert.NotContains(t, stranger.Status.Message, "-n "+ns)

	assert.Equal(t, holder.Status.Digest, content.Digest(t, holder.Status.Image))
	assert.Equal(t, holder.Status, live.refresh(t, holder).Status)
}
