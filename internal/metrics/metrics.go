// Package metrics holds the operator's own metrics: what there are, and how
// they are counted. What is counted is decided by internal/lifecycle.
package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Metrics count what the operator does.
type Metrics struct {
	builds        *prometheus.CounterVec
	stepSeconds   *prometheus.HistogramVec
	buildSeconds  *prometheus.HistogramVec
	packagedBytes prometheus.Counter
	attempts      prometheus.Counter
}

// Shared are the metrics in controller-runtime's registry, of which a process
// has one: operators that share a process, as in tests, are added up.
var Shared = sync.OnceValue(func() *Metrics { return New(ctrlmetrics.Registry) })

// New are metrics, registered. The ones of Versions come with a manager.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		builds:        prometheus.NewCounterVec(prometheus.CounterOpts(builds.opts()), builds.Labels),
		stepSeconds:   prometheus.NewHistogramVec(stepSeconds.histogram(), stepSeconds.Labels),
		buildSeconds:  prometheus.NewHistogramVec(buildSeconds.histogram(), buildSeconds.Labels),
		packagedBytes: prometheus.NewCounter(prometheus.CounterOpts(packagedBytes.opts())),
		attempts:      prometheus.NewCounter(prometheus.CounterOpts(attempts.opts())),
	}
	m.begin()
	registry.MustRegister(m.builds, m.stepSeconds, m.buildSeconds, m.packagedBytes, m.attempts)
	return m
}

// begin makes every series at zero. Prometheus takes no increase from a series
// that begins at one, and builds are rare: the first failure after each start
// of the operator would go unnoticed.
func (m *Metrics) begin() {
	for _, reason := range append(slices.Clone(reasons), reasonOther) {
		m.builds.WithLabelValues(result(reason == reasonSucceeded), reason)
	}
	for _, succeeded := range []bool{true, false} {
		m.buildSeconds.WithLabelValues(result(succeeded))
	}
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		m.stepSeconds.WithLabelValues(step)
	}
}

// AttemptMade counts a Workflow that the operator has created.
func (m *Metrics) AttemptMade() { m.attempts.Inc() }

// AttemptEnded counts an attempt that has ended, and how long its steps took.
func (m *Metrics) AttemptEnded(end lifecycle.Completion, stepSeconds map[string]float64) {
	m.builds.WithLabelValues(result(end.Succeeded), known(end.Reason)).Inc()
	if end.Seconds != nil {
		m.buildSeconds.WithLabelValues(result(end.Succeeded)).Observe(*end.Seconds)
	}
	if end.Succeeded {
		m.packagedBytes.Add(float64(end.Bytes))
	}
	for step, seconds := range stepSeconds {
		m.stepSeconds.WithLabelValues(step).Observe(seconds)
	}
}

func result(succeeded bool) string {
	if succeeded {
		return "succeeded"
	}
	return "failed"
}
