package metrics

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/golden"
)

// newRegistry returns a registry in which every metric has a value.
func newRegistry(t *testing.T) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	m := New(registry)
	m.WatchFailed("*v1.Pod") // Kinds are not known before they fail, nor are namespaces.
	m.AttemptCreated("team-a")
	reader := fixedReader{versions: []v1alpha1.ModelVersion{{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a"}}}}
	require.NoError(t, registry.Register(Versions{Reader: reader}.gauge(t.Context())))
	return registry
}

func TestAll(t *testing.T) {
	t.Run("lists what a scrape returns", func(t *testing.T) {
		families, err := newRegistry(t).Gather()
		require.NoError(t, err)
		want, got := map[string]Metric{}, map[string]Metric{}
		for _, m := range All {
			m.Details = ""
			want[m.Name] = m
		}
		for _, family := range families {
			m := Metric{Name: family.GetName(), Type: strings.ToLower(family.GetType().String()), Help: family.GetHelp()}
			seen := map[string]bool{}
			for _, label := range family.GetMetric()[0].GetLabel() {
				seen[label.GetName()] = true
			}
			// A scrape sorts labels by name, All does not.
			for _, label := range want[m.Name].Labels {
				if seen[label] {
					m.Labels = append(m.Labels, label)
					delete(seen, label)
				}
			}
			assert.Empty(t, seen, "labels of %s that All does not list", m.Name)
			got[m.Name] = m
		}
		assert.Equal(t, want, got)
	})
	t.Run("passes Prometheus' own linter", func(t *testing.T) {
		problems, err := testutil.GatherAndLint(newRegistry(t))
		require.NoError(t, err)
		assert.Empty(t, problems)
	})
	t.Run("is documented", func(t *testing.T) {
		golden.AssertSection(t, "../../api/docs/metrics.md",
			"<!-- begin metrics: go test ./internal/metrics -update -->", "<!-- end metrics -->", table())
	})
}

// table returns All as a Markdown table.
func table() string {
	var b strings.Builder
	b.WriteString("| metric | type | description |\n|---|---|---|\n")
	for _, m := range All {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "{" + strings.Join(m.Labels, ", ") + "}"
		}
		fmt.Fprintf(&b, "| `%s%s` | %s | %s %s |\n", m.Name, labels, m.Type, m.Help, m.Details)
	}
	return b.String()
}

func TestReasonOther(t *testing.T) {
	assert.NotContains(t, v1alpha1.Reasons, reasonOther)
}
