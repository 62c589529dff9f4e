//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestTheLatestVersionIsTheNewestThatWasBuilt(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	empty, full := newFolder(t), model(t)

	broken, _ := live.failed(t, makeVersion("broken-1", ns, empty).New())
	var of v1alpha1.Model
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: broken.Spec.ModelName}, &of))
	assert.Nil(t, of.Status.LatestVersion, "no version was built yet")

	older := live.built(t, makeVersion("good-1", ns, full).New())
	live.latest(t, older)

	live.failed(t, makeVersion("broken-2", ns, empty).New())
	live.latest(t, older)

	newer := live.built(t, makeVersion("good-2", ns, full).New())
	live.latest(t, newer)

	run(t, "kubectl", "delete", "mv", newer.Name, "-n", ns)
	live.latest(t, older)
}
