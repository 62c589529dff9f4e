//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestConcurrentVersions(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	one, two := model(t), model(t)
	first, second := makeVersion("first", ns, one).New(), makeVersion("second", ns, two).New()
	live.create(t, first)
	live.create(t, second)

	first, second = live.ready(t, first), live.ready(t, second)

	assert.True(t, second.Status.StartTime.Before(first.Status.FinishTime) && first.Status.StartTime.Before(second.Status.FinishTime), "neither waited for the other")
	assert.NotEqual(t, first.Status.Image, second.Status.Image)
	assertImage(t, first, one)
	assertImage(t, second, two)
	// Both may have been created in the same second: then the name decides.
	live.latest(t, second)
}

func TestVersionRecreated(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	one, two := model(t), model(t)
	first := live.built(t, makeVersion("again", ns, one).New())

	// The first one's Workflow may still exist when the second one is created.
	run(t, "kubectl", "delete", "mv", "again", "-n", ns)
	second := live.built(t, makeVersion("again", ns, two).New())

	assert.NotEqual(t, first.UID, second.UID)
	assert.NotEqual(t, first.Status.Workflow.Name, second.Status.Workflow.Name)
	assert.NotEqual(t, first.Status.Image, second.Status.Image)
	assertImage(t, first, one)
	assertImage(t, second, two)
	live.latest(t, second)
}

// The manifest of a ModelVersion that was deleted is applied again: here, and in
// another namespace, as in a cluster that is built again from Git.
func TestVersionAppliedAgain(t *testing.T) {
	t.Parallel()
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			here, there := live.namespace(t), live.namespace(t)
			dir := model(t)
			version := func(ns string) *v1alpha1.ModelVersion {
				return makeVersion("r1", ns, dir).ImageRepo("e2e/" + here).ImageTag("r1").Engine(engine).New()
			}
			first := live.built(t, version(here))
			run(t, "kubectl", "delete", "mv", "r1", "-n", here)

			for _, ns := range []string{here, there} {
				again := live.built(t, version(ns))
				assert.NotEqual(t, first.UID, again.UID)
				assert.Equal(t, first.Status.Image, again.Status.Image)
				assert.Equal(t, first.Status.Digest, again.Status.Digest)
				live.latest(t, again)
			}
			assertImage(t, first, dir)
		})
	}
}

func TestSameNameInTwoNamespaces(t *testing.T) {
	t.Parallel()
	here, there := live.namespace(t), live.namespace(t)
	one, two := model(t), model(t)
	version := func(ns string, from directory) *v1alpha1.ModelVersion {
		return makeVersion("v1", ns, from).ImageRepo("e2e/shared-by-" + here).New()
	}
	first, second := version(here, one), version(there, two)
	live.create(t, first)
	live.create(t, second)

	first, second = live.ready(t, first), live.ready(t, second)

	assert.NotEqual(t, first.Status.Image, second.Status.Image)
	assertImage(t, first, one)
	assertImage(t, second, two)
	live.latest(t, first)
	live.latest(t, second)
}
