// Package metrics defines and records the operator's own metrics. internal/lifecycle
// decides what is recorded.
package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Metrics records what the operator does.
type Metrics struct {
	builds        *prometheus.CounterVec
	stepSeconds   *prometheus.HistogramVec
	buildSeconds  *prometheus.HistogramVec
	packagedBytes prometheus.Counter
	sentBytes     prometheus.Counter
	reusedBytes   prometheus.Counter
	attempts      prometheus.Counter

	namespaceBuilds *prometheus.CounterVec
	namespaces      namespaces

	rejectedWrites prometheus.Counter
	watchErrors    *prometheus.CounterVec
}

// Shared returns the metrics in controller-runtime's registry. A process has one
// such registry: operators that share a process, as in tests, are added up.
var Shared = sync.OnceValue(func() *Metrics { return New(ctrlmetrics.Registry) })

// New returns metrics that are registered in registry. The gauge of Versions is
// registered by a manager.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		builds:        prometheus.NewCounterVec(prometheus.CounterOpts(builds.opts()), builds.Labels),
		stepSeconds:   prometheus.NewHistogramVec(stepSeconds.histogramOpts(), stepSeconds.Labels),
		buildSeconds:  prometheus.NewHistogramVec(buildSeconds.histogramOpts(), buildSeconds.Labels),
		packagedBytes: prometheus.NewCounter(prometheus.CounterOpts(packagedBytes.opts())),
		sentBytes:     prometheus.NewCounter(prometheus.CounterOpts(sentBytes.opts())),
		reusedBytes:   prometheus.NewCounter(prometheus.CounterOpts(reusedBytes.opts())),
		attempts:      prometheus.NewCounter(prometheus.CounterOpts(attempts.opts())),

		namespaceBuilds: prometheus.NewCounterVec(prometheus.CounterOpts(namespaceBuilds.opts()), namespaceBuilds.Labels),

		rejectedWrites: prometheus.NewCounter(prometheus.CounterOpts(rejectedWrites.opts())),
		watchErrors:    prometheus.NewCounterVec(prometheus.CounterOpts(watchErrors.opts()), watchErrors.Labels),
	}
	m.initSeries()
	registry.MustRegister(m.builds, m.stepSeconds, m.buildSeconds, m.packagedBytes, m.sentBytes, m.reusedBytes, m.attempts, m.namespaceBuilds, m.rejectedWrites, m.watchErrors)
	return m
}

// initSeries creates every series with the value zero. Prometheus does not see an
// increase in a series that starts at one, and builds are rare: the first failure
// after each start of the operator would go unnoticed.
func (m *Metrics) initSeries() {
	for _, reason := range append(slices.Clone(v1alpha1.Reasons), reasonOther) {
		m.builds.WithLabelValues(resultLabel(reason == v1alpha1.ReasonSucceeded), reason)
	}
	for _, succeeded := range []bool{true, false} {
		m.buildSeconds.WithLabelValues(resultLabel(succeeded))
	}
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		m.stepSeconds.WithLabelValues(step)
	}
}

// AttemptCreated counts a Workflow that the operator created in a namespace. The series of
// the namespace begin before its first attempt ends.
func (m *Metrics) AttemptCreated(namespace string) {
	m.attempts.Inc()
	for _, succeeded := range []bool{true, false} {
		m.namespaceBuilds.WithLabelValues(m.namespaces.label(namespace), resultLabel(succeeded))
	}
}

// WriteRejected counts a write of the operator that the API server has rejected.
func (m *Metrics) WriteRejected() { m.rejectedWrites.Inc() }

// WatchFailed counts a list or watch of a kind that has failed.
func (m *Metrics) WatchFailed(kind string) { m.watchErrors.WithLabelValues(kind).Inc() }

// AttemptCompleted counts a finished attempt in a namespace and records how long its
// steps took.
func (m *Metrics) AttemptCompleted(namespace string, completion lifecycle.Completion, stepSeconds map[string]float64) {
	m.namespaceBuilds.WithLabelValues(m.namespaces.label(namespace), resultLabel(completion.Succeeded)).Inc()
	m.builds.WithLabelValues(resultLabel(completion.Succeeded), reasonLabel(completion.Reason)).Inc()
	if completion.Seconds != nil {
		m.buildSeconds.WithLabelValues(resultLabel(completion.Succeeded)).Observe(*completion.Seconds)
	}
	if completion.Succeeded {
		m.packagedBytes.Add(float64(completion.Bytes))
		m.sentBytes.Add(float64(completion.SentBytes))
		m.reusedBytes.Add(float64(completion.ReusedBytes))
	}
	for step, seconds := range stepSeconds {
		m.stepSeconds.WithLabelValues(step).Observe(seconds)
	}
}

func resultLabel(succeeded bool) string {
	if succeeded {
		return "succeeded"
	}
	return "failed"
}
