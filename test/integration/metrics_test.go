package integration

import (
	"bufio"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// scraped is an operator whose metrics a test reads over and over.
type scraped struct {
	t     *testing.T
	url   string
	token string
	// seen is what the last look has found.
	seen map[string]float64
}

// startScraped starts an operator on an API server of which nobody else's
// versions count.
func startScraped(t *testing.T, server *apiServer) (*operator, *scraped) {
	t.Helper()
	address := freeAddress(t)
	op := startOperator(t, server, withManager(func(o *manager.Options) { o.MetricsAddress = address }))
	m := &scraped{t: t, url: "https://" + address + "/metrics", token: metricsReader(t, server)}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, m.scrape(c), `modelkiln_modelversions{state="ready"}`, "the operator leads")
	}, deadline, tick)
	m.look()
	return op, m
}

// scrape is the values of the operator's own metrics, buckets and sums aside.
func (m *scraped) scrape(t require.TestingT) map[string]float64 {
	status, body := get(m.t, t, m.url, m.token)
	require.Equal(t, http.StatusOK, status, body)
	values := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		series, text, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(series, "modelkiln_") || strings.Contains(series, "_bucket{") || strings.Contains(series, "_sum{") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err, series)
		values[series] = value
	}
	return values
}

func (m *scraped) look() { m.seen = m.scrape(m.t) }

// awaitChange waits until this much, and nothing else, has changed since the
// last look, and looks.
func (m *scraped) awaitChange(want map[string]float64) {
	m.t.Helper()
	require.EventuallyWithT(m.t, func(c *assert.CollectT) {
		changes := m.scrape(c)
		for series, value := range changes {
			changes[series] = value - m.seen[series]
		}
		maps.DeleteFunc(changes, func(_ string, change float64) bool { return change == 0 })
		assert.Equal(c, want, changes)
	}, deadline, tick)
	m.look()
}

func TestMetricsFollowAVersionThroughFailureAndSuccess(t *testing.T) {
	server, err := startAPIServer(modelkilnCRDs, argoCRDs())
	require.NoError(t, err)
	t.Cleanup(server.stop)
	require.NoError(t, server.install(deployRBAC, workflowTemplates, kanikoTemplate))
	s := newScene(t, server)
	op, m := startScraped(t, server)

	mv := s.apply(localVersion)
	wf := s.argo.awaitAttempt(mv, 1)
	m.awaitChange(map[string]float64{
		`modelkiln_attempts_total`:                 1,
		`modelkiln_modelversions{state="waiting"}`: 1,
	})

	s.argo.runs(wf, contract.StepMountCheck)
	m.awaitChange(map[string]float64{
		`modelkiln_modelversions{state="waiting"}`:  -1,
		`modelkiln_modelversions{state="building"}`: 1,
	})

	s.argo.stepEnds(wf, contract.StepMountCheck)
	s.buildFails(wf, contract.StepBuild, "ScanFoundAVirus", "a reason of the platform team's own")
	m.awaitChange(map[string]float64{
		`modelkiln_builds_total{reason="Other",result="failed"}`:          1,
		`modelkiln_build_duration_seconds_count{result="failed"}`:         1,
		`modelkiln_build_step_duration_seconds_count{step="mount-check"}`: 1,
		`modelkiln_modelversions{state="building"}`:                       -1,
		`modelkiln_modelversions{state="failed"}`:                         1,
	})

	s.annotate(resnet, v1alpha1.AnnotationRebuild, "again")
	wf = s.argo.awaitAttempt(mv, 2)
	s.buildFails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
	m.awaitChange(map[string]float64{
		`modelkiln_attempts_total`:                                     1,
		`modelkiln_builds_total{reason="SourceEmpty",result="failed"}`: 1,
		`modelkiln_build_duration_seconds_count{result="failed"}`:      1,
	})

	s.argo.retry(wf)
	s.buildSucceeds(wf)
	m.awaitChange(map[string]float64{
		`modelkiln_builds_total{reason="Succeeded",result="succeeded"}`: 1,
		`modelkiln_build_duration_seconds_count{result="succeeded"}`:    1,
		`modelkiln_packaged_bytes_total`:                                50 << 20,
		`modelkiln_modelversions{state="failed"}`:                       -1,
		`modelkiln_modelversions{state="ready"}`:                        1,
	})

	// The next operator looks at everything anew, and counts on in the same
	// registry, since it runs in the same process.
	before := m.seen
	op.stop()
	op, m = startScraped(t, server)
	op.settles(t, server)
	m.seen = before
	m.awaitChange(map[string]float64{
		`modelkiln_modelversions{state="failed"}`: 1, // The one that it has settled with, which never was an attempt.
	})
}
