// Package monitoring checks deploy/monitoring with the parser of Prometheus. It is a
// module of its own, so that Prometheus is no dependency of the operator.
package monitoring

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const dir = "../../deploy/monitoring/"

// Prometheus refuses all rules of an object of which it cannot parse one.
func TestRules(t *testing.T) {
	raw, err := os.ReadFile(dir + "rules.yaml")
	require.NoError(t, err)
	var object struct{ Spec yaml.Node }
	require.NoError(t, yaml.Unmarshal(raw, &object))
	spec, err := yaml.Marshal(&object.Spec)
	require.NoError(t, err)

	groups, errs := rulefmt.Parse(spec, false, model.UTF8Validation)
	require.Empty(t, errs)
	require.NotEmpty(t, groups.Groups)
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			assert.NotEmpty(t, rule.Alert)
		}
	}
}

// grafana replaces the variables of Grafana's queries by values.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1d", "$namespace", "team-a|team-b")

func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile(dir + "dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	ids, places := map[int]bool{}, map[[2]int]bool{}
	for _, panel := range dashboard.Panels {
		t.Run(panel.Title, func(t *testing.T) {
			assert.False(t, ids[panel.ID], "the ID is another panel's")
			place := [2]int{panel.GridPos.X, panel.GridPos.Y}
			assert.False(t, places[place], "another panel is there")
			ids[panel.ID], places[place] = true, true
			assert.LessOrEqual(t, panel.GridPos.X+panel.GridPos.W, 24, "Grafana has 24 columns")
			for _, target := range panel.Targets {
				expression, err := parser.ParseExpr(grafana.Replace(target.Expr))
				require.NoError(t, err, target.Expr)
				assert.Equal(t, parser.ValueTypeVector, expression.Type(), target.Expr)
			}
		})
	}
}
