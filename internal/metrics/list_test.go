package metrics

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// README's table and the list in reasons.go are written anew by
//
//	go test ./internal/metrics -update
var update = flag.Bool("update", false, "write README's table and the list of reasons anew")

// whole is a registry in which every metric has a value.
func whole(t *testing.T) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	New(registry)
	require.NoError(t, registry.Register(Versions{Reader: fixedReader{}}.gauge(t.Context())))
	return registry
}

func TestEveryMetricIsListedAsItIs(t *testing.T) {
	families, err := whole(t).Gather()
	require.NoError(t, err)
	want, got := map[string]Metric{}, map[string]Metric{}
	for _, m := range All {
		m.Meaning = ""
		want[m.Name] = m
	}
	for _, family := range families {
		m := Metric{Name: family.GetName(), Type: strings.ToLower(family.GetType().String()), Help: family.GetHelp()}
		seen := map[string]bool{}
		for _, label := range family.GetMetric()[0].GetLabel() {
			seen[label.GetName()] = true
		}
		// A scrape has them in the order of the alphabet.
		for _, label := range want[m.Name].Labels {
			if seen[label] {
				m.Labels = append(m.Labels, label)
				delete(seen, label)
			}
		}
		assert.Empty(t, seen, "labels of %s that are not listed", m.Name)
		got[m.Name] = m
	}
	assert.Equal(t, want, got)
}

func TestPrometheusOwnLinterHasNoComplaint(t *testing.T) {
	problems, err := testutil.GatherAndLint(whole(t))
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestTheREADMETellsOfEveryMetric(t *testing.T) {
	isWritten(t, "../../README.md", "<!-- metrics: go test ./internal/metrics -update -->\n", table(), "<!-- end of metrics -->\n")
}

// isWritten says that a file holds this text between two others.
func isWritten(t *testing.T, file, begin, want, end string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(raw), begin)
	require.True(t, found)
	got, after, found := strings.Cut(rest, end)
	require.True(t, found)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o644))
		got = want
	}
	assert.Equal(t, want, got, "%s is behind: run go test ./internal/metrics -update", file)
}

// table is All in markdown.
func table() string {
	var b strings.Builder
	b.WriteString("| metric | type | what it says |\n|---|---|---|\n")
	for _, m := range All {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "{" + strings.Join(m.Labels, ", ") + "}"
		}
		fmt.Fprintf(&b, "| `%s%s` | %s | %s %s |\n", m.Name, labels, m.Type, m.Help, m.Meaning)
	}
	return b.String()
}

func TestTheReasonsAreThoseOfTheAPI(t *testing.T) {
	want := ""
	for _, name := range reasonsOfTheAPI(t) {
		want += "\tv1alpha1." + name + ",\n"
	}
	isWritten(t, "reasons.go", "var reasons = []string{\n", want, "}\n")
	assert.NotContains(t, reasons, reasonOther, "it stands for those that are none")
}

// reasonsOfTheAPI are the names of the API's reasons.
func reasonsOfTheAPI(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../api/v1alpha1/*.go")
	require.NoError(t, err)
	var names []string
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for _, name := range spec.Names {
					if strings.HasPrefix(name.Name, "Reason") {
						names = append(names, name.Name)
					}
				}
			}
			return true
		})
	}
	require.Contains(t, names, "ReasonSucceeded")
	return names
}
