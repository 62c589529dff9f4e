package registries

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
	"github.com/modelkiln/modelkiln/test/registries/imitation"
)

// refusals are the reasons for which builds fail with imitation.Refusing, and what
// of the registry's own words their messages have.
var refusals = map[string]struct{ reason, says string }{
	"Amazon ECR, repository that nobody created": {v1alpha1.ReasonRepositoryMissing, "does not exist in the registry with id"},
	"Amazon ECR, immutable tags":                 {v1alpha1.ReasonTagTaken, "cannot be overwritten because the repository is immutable"},
	"Harbor, immutable tags":                     {v1alpha1.ReasonTagTaken, "configured as immutable"},
	"Harbor, quota":                              {v1alpha1.ReasonRegistryFull, "will exceed the configured upper limit of 10.0 GiB"},
	"Docker Hub, repository of another user":     {v1alpha1.ReasonRegistryUnauthorized, "authentication required"},
}

// TestRefusals shows that the registry's own words decide the reason, with both
// engines. The table is in api/docs/registries.md:
//
//	go test ./test/registries -update
func TestRefusals(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	steps := map[string]string{}
	t.Run("rows", func(t *testing.T) {
		for _, of := range imitation.Refusing {
			for _, engine := range engines {
				t.Run(of.Name+"/"+string(engine), func(t *testing.T) {
					t.Parallel()
					step := refused(t, of, engine)
					mu.Lock()
					defer mu.Unlock()
					steps[of.Name+string(engine)] = step
				})
			}
		}
	})
	if len(steps) != len(imitation.Refusing)*len(engines) || t.Failed() {
		return // -run has chosen some, or one has failed.
	}
	var b strings.Builder
	b.WriteString("| registry | what it does | reason | found by |\n|---|---|---|---|\n")
	for _, of := range imitation.Refusing {
		found := steps[of.Name+string(v1alpha1.Stream)]
		assert.Equal(t, found, steps[of.Name+string(v1alpha1.Kaniko)], of.Name)
		fmt.Fprintf(&b, "| %s | %s | `%s` | `%s` |\n", of.Name, described(of), refusals[of.Name].reason, found)
	}
	assertSection(t, "refusals", b.String())
}

// refused runs a build that the registry refuses, and returns the step that found
// it.
func refused(t *testing.T, of imitation.Imitation, engine v1alpha1.BuildEngine) (step string) {
	t.Helper()
	g := imitated(of)(t)
	p := g.newPod(t)
	p.setEngine(engine)
	p.write(t, "config.json", "{}")

	left, logs := p.runAll(t)

	require.NotNil(t, left.Failure, logs)
	want := refusals[of.Name]
	assert.Equal(t, want.reason, left.Failure.Reason, left.Failure.Message)
	assert.Contains(t, left.Failure.Message, want.says)
	assert.Contains(t, left.Failure.Message, g.host)
	assert.False(t, left.Failure.Transient)
	assert.NotContains(t, left.Failure.Message, "\n")
	content.AssertNotTagged(t, g.pullHost+"/"+p.repository+":"+p.tag)
	return left.Failure.Step
}

// TestHeldByPolicy shows that an image is not lost that a registry does not give out
// before it is scanned: the build succeeds with the digest of its push. A repeated
// build cannot compare the image with the files, and says what to do; after the scan,
// it finds the image.
func TestHeldByPolicy(t *testing.T) {
	t.Parallel()
	harbor := imitation.Hosted[slices.IndexFunc(imitation.Hosted, func(of imitation.Imitation) bool { return of.Name == imitation.HarborPolicy })]
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			g := imitated(harbor)(t)
			p := g.newPod(t)
			p.setEngine(engine)
			p.write(t, "config.json", "{}")

			pushed, logs := p.runAll(t)

			require.Nil(t, pushed.Failure, logs)
			assert.Contains(t, pushed.Image.HeldBack, "without vulnerability scanning cannot be pulled")
			image := content.OfImage(t, g.pullHost+"/"+p.repository+":"+p.tag)
			assert.Equal(t, content.OfDirectory(t, p.model), image.Model)
			assert.Equal(t, image.Digest, pushed.Image.Digest)

			p.replace(t)
			p.known = pushed.Image.Digest
			failure := p.fails(t, contract.StepMountCheck, v1alpha1.ReasonHeldByPolicy)
			assert.Contains(t, failure.Message, "sign or scan the image")

			g.front.Repair()
			p.replace(t)
			scanned, logs := p.runAll(t)

			require.Nil(t, scanned.Failure, logs)
			assert.Empty(t, scanned.Image.HeldBack)
			assert.True(t, scanned.Source.AlreadyPushed)
			assert.Equal(t, pushed.Image.Digest, scanned.Image.Digest)
		})
	}
}

// described returns the habits of an imitation, with their sources.
func described(of imitation.Imitation) string {
	habits := make([]string, len(of.Habits))
	for i, habit := range of.Habits {
		habits[i] = fmt.Sprintf("%s ([source](%s))", strings.TrimSuffix(habit.Does, "."), habit.Source)
	}
	return strings.Join(habits, "; ")
}

func TestHabits(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("| imitation | what it does |\n|---|---|\n")
	for _, of := range slices.Concat(imitation.Hosted, imitation.Gateways) {
		fmt.Fprintf(&b, "| %s | %s |\n", of.Name, described(of))
	}
	assertSection(t, "imitations", b.String())
}
