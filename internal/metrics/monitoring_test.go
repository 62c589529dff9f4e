package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

const monitoringDir = "../../deploy/monitoring/"

// rule is an alert of deploy/monitoring.
type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	raw, err := os.ReadFile(monitoringDir + "rules.yaml")
	require.NoError(t, err)
	var object struct {
		Spec struct{ Groups []struct{ Rules []rule } }
	}
	require.NoError(t, yaml.Unmarshal(raw, &object))
	require.Len(t, object.Spec.Groups, 1)
	return object.Spec.Groups[0].Rules
}

// expressions returns the queries of the alerts and of the dashboard, by name.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, r := range rules(t) {
		all[r.Alert] = r.Expr
	}
	raw, err := os.ReadFile(monitoringDir + "dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			all[panel.Title+" "+target.RefID] = target.Expr
		}
	}
	return all
}

// selector matches a metric of the operator, and the matchers of its labels.
var selector = regexp.MustCompile(`(modelkiln_[a-z_]+)(?:\{([^}]*)\})?`)

// label matches the name of a label in such matchers.
var label = regexp.MustCompile(`([a-z]+)\s*(?:=~|=|!=|!~)`)

// Alerts and dashboards that name what the operator does not have show nothing, and no
// one notices.
func TestMonitoringNamesMetricsThatExist(t *testing.T) {
	metrics := map[string]Metric{}
	for _, m := range All {
		metrics[m.Name] = m
		if m.Type == "histogram" {
			metrics[m.Name+"_bucket"] = m
		}
	}
	used := map[string]bool{}
	for name, expression := range expressions(t) {
		t.Run(name, func(t *testing.T) {
			for _, found := range selector.FindAllStringSubmatch(expression, -1) {
				m, exists := metrics[found[1]]
				require.True(t, exists, found[1])
				used[m.Name] = true
				for _, matcher := range label.FindAllStringSubmatch(found[2], -1) {
					assert.Contains(t, m.Labels, matcher[1], found[0])
				}
			}
		})
	}
	for _, m := range All {
		assert.True(t, used[m.Name], "nothing shows %s", m.Name)
	}
}

func TestMonitoringNamesReasonsThatExist(t *testing.T) {
	reasons := append(slices.Clone(v1alpha1.Reasons), reasonOther)
	listed := regexp.MustCompile(`reason=~"([^"]+)"`)
	found := false
	for _, r := range rules(t) {
		for _, matcher := range listed.FindAllStringSubmatch(r.Expr, -1) {
			found = true
			assert.Subset(t, reasons, strings.Split(matcher[1], "|"))
		}
	}
	assert.True(t, found)
}

// An alert gives its cause and the next command.
func TestAlertsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../api/docs/metrics.md")
	require.NoError(t, err)
	for _, r := range rules(t) {
		t.Run(r.Alert, func(t *testing.T) {
			assert.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"])
			assert.NotEmpty(t, r.Annotations["summary"])
			assert.Regexp(t, `(kubectl|argo) `, r.Annotations["description"], "it has a command")
			assert.Equal(t, "https://github.com/modelkiln/modelkiln/blob/main/api/docs/metrics.md#"+strings.ToLower(r.Alert), r.Annotations["runbook_url"])
			assert.Contains(t, string(raw), "\n### "+r.Alert+"\n")
		})
	}
}
