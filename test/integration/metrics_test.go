package integration

import (
	"bufio"
	"fmt"
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

// scraper reads the metrics of an operator.
type scraper struct {
	t     *testing.T
	url   string
	token string
	// namespace is the one of which the series by namespace are read, if any.
	namespace string
	// baseline has the values to which awaitChange compares.
	baseline map[string]float64
}

// startWithMetrics starts an operator and a scraper. The API server must not
// have ModelVersions of other tests, which would be counted.
func startWithMetrics(t *testing.T, server *apiServer) (*operator, *scraper) {
	t.Helper()
	address := freeAddress(t)
	op := startOperator(t, server, withManager(func(o *manager.Options) { o.MetricsAddress = address }))
	m := &scraper{t: t, url: "https://" + address + "/metrics", token: metricsReader(t, server)}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, m.scrape(c), `modelkiln_modelversions{state="ready"}`, "the operator leads")
	}, deadline, tick)
	m.setBaseline()
	return op, m
}

// scrape returns the values of the operator's own metrics, without buckets and
// sums.
func (m *scraper) scrape(t require.TestingT) map[string]float64 {
	status, body := httpGet(m.t, t, m.url, m.token)
	require.Equal(t, http.StatusOK, status, body)
	values := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		series, text, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(series, "modelkiln_") || strings.Contains(series, "_bucket{") || strings.Contains(series, "_sum{") {
			continue
		}
		if strings.Contains(series, "namespace=") && (m.namespace == "" || !strings.Contains(series, m.namespace)) {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err, series)
		values[series] = value
	}
	return values
}

func (m *scraper) setBaseline() { m.baseline = m.scrape(m.t) }

// awaitChange waits until the values differ from the baseline by exactly these
// amounts, and sets a new baseline.
func (m *scraper) awaitChange(want map[string]float64) {
	m.t.Helper()
	require.EventuallyWithT(m.t, func(c *assert.CollectT) {
		changes := m.scrape(c)
		for series, value := range changes {
			changes[series] = value - m.baseline[series]
		}
		maps.DeleteFunc(changes, func(_ string, change float64) bool { return change == 0 })
		assert.Equal(c, want, changes)
	}, deadline, tick)
	m.setBaseline()
}

func TestMetrics(t *testing.T) {
	server := newAPIServer(t, modelkilnCRDs, argoCRDs())
	require.NoError(t, server.install(deployRBAC, workflowTemplates, kanikoTemplate))
	s := newSandbox(t, server)
	op, m := startWithMetrics(t, server)
	m.namespace = s.namespace

	mv := s.create(localVersion)
	wf := s.argo.awaitAttempt(mv, 1)
	ofNamespace := func(state string) string {
		return fmt.Sprintf(`modelkiln_namespace_modelversions{namespace=%q,state=%q}`, s.namespace, state)
	}
	endedIn := func(result string) string {
		return fmt.Sprintf(`modelkiln_namespace_builds_total{namespace=%q,result=%q}`, s.namespace, result)
	}
	m.awaitChange(map[string]float64{
		`modelkiln_attempts_total`:                 1,
		`modelkiln_modelversions{state="waiting"}`: 1,
		ofNamespace("waiting"):                     1,
	})

	s.argo.runStep(wf, contract.StepMountCheck)
	m.awaitChange(map[string]float64{
		`modelkiln_modelversions{state="waiting"}`:  -1,
		`modelkiln_modelversions{state="building"}`: 1,
		ofNamespace("waiting"):                      -1,
		ofNamespace("building"):                     1,
	})

	s.argo.completeStep(wf, contract.StepMountCheck)
	s.failBuild(wf, contract.StepBuild, "ScanFoundAVirus", "a reason that only the platform team's template has")
	m.awaitChange(map[string]float64{
		`modelkiln_builds_total{reason="Other",result="failed"}`:          1,
		`modelkiln_build_duration_seconds_count{result="failed"}`:         1,
		`modelkiln_build_step_duration_seconds_count{step="mount-check"}`: 1,
		`modelkiln_modelversions{state="building"}`:                       -1,
		`modelkiln_modelversions{state="failed"}`:                         1,
		ofNamespace("building"):                                           -1,
		ofNamespace("failed"):                                             1,
		endedIn("failed"):                                                 1,
	})

	s.annotate(resnet, v1alpha1.AnnotationRebuild, "again")
	wf = s.argo.awaitAttempt(mv, 2)
	s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
	m.awaitChange(map[string]float64{
		`modelkiln_attempts_total`:                                     1,
		`modelkiln_builds_total{reason="SourceEmpty",result="failed"}`: 1,
		`modelkiln_build_duration_seconds_count{result="failed"}`:      1,
		endedIn("failed"): 1,
	})

	s.argo.retry(wf)
	s.completeBuild(wf)
	m.awaitChange(map[string]float64{
		`modelkiln_builds_total{reason="Succeeded",result="succeeded"}`: 1,
		`modelkiln_build_duration_seconds_count{result="succeeded"}`:    1,
		`modelkiln_packaged_bytes_total`:                                50 << 20,
		`modelkiln_modelversions{state="failed"}`:                       -1,
		`modelkiln_modelversions{state="ready"}`:                        1,
		ofNamespace("failed"):                                           -1,
		ofNamespace("ready"):                                            1,
		endedIn("succeeded"):                                            1,
	})

	// The next operator reconciles everything again. Since it runs in the same
	// process it uses the same metrics registry, so that the counters continue.
	before := m.baseline
	op.stop()
	op, m = startWithMetrics(t, server)
	op.drainQueue(t, server)
	m.baseline = before
	m.awaitChange(map[string]float64{
		`modelkiln_modelversions{state="failed"}`: 1, // The ModelVersion of drainQueue, for which no attempt starts.
	})
}
