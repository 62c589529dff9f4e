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
	"github.com/modelkiln/modelkiln/test/registries/content"
	"github.com/modelkiln/modelkiln/test/registries/imitation"
)

// refusals are the reasons for which builds fail with imitation.Refusing, and what
// their messages say: the registry's own words, or what to do.
var refusals = map[string]struct{ reason, says string }{
	"Amazon ECR, repository that nobody created": {v1alpha1.ReasonRepositoryMissing, "create the repository"},
	"Amazon ECR, immutable tags":                 {v1alpha1.ReasonTagTaken, "cannot be overwritten because the repository is immutable"},
	"Harbor, immutable tags":                     {v1alpha1.ReasonTagTaken, "configured as immutable"},
	"Harbor, quota":                              {v1alpha1.ReasonRegistryFull, "will exceed the configured upper limit of 10.0 GiB"},
	"Docker Hub, repository of somebody else":    {v1alpha1.ReasonRegistryUnauthorized, "models/resnet"},
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
	p.engine, p.buildEngine = engine, engine
	if engine == v1alpha1.Kaniko {
		p.compression = v1alpha1.Zstd
	}
	p.write(t, "config.json", "{}")

	left, logs := p.runAll(t)

	require.NotNil(t, left.Failure, logs)
	want := refusals[of.Name]
	assert.Equal(t, want.reason, left.Failure.Reason, left.Failure.Message)
	assert.Contains(t, left.Failure.Message, want.says)
	assert.False(t, left.Failure.Transient)
	assert.NotContains(t, left.Failure.Message, "\n")
	content.AssertNotTagged(t, g.pullHost+"/"+p.repository+":"+p.tag)
	return left.Failure.Step
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
