package metrics

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// Versions counts ModelVersions by state, and by namespace and state, while its manager
// leads: the gauges need the cache, and replicas must not count the same objects twice.
type Versions struct {
	// Reader reads from the cache.
	Reader client.Reader
	// Registry is where the gauge is registered.
	Registry prometheus.Registerer
}

// Start registers the gauge until the manager stops.
func (v Versions) Start(ctx context.Context) error {
	gauge := v.gauge(ctx)
	if err := v.Registry.Register(gauge); err != nil {
		return fmt.Errorf("register metric %s: %w", versions.Name, err)
	}
	<-ctx.Done()
	v.Registry.Unregister(gauge)
	return nil
}

func (v Versions) gauge(ctx context.Context) versionGauge {
	return versionGauge{
		all:         prometheus.NewDesc(versions.Name, versions.Help, versions.Labels, nil),
		byNamespace: prometheus.NewDesc(namespaceVersions.Name, namespaceVersions.Help, namespaceVersions.Labels, nil),
		list: func() ([]v1alpha1.ModelVersion, error) {
			var list v1alpha1.ModelVersionList
			// The objects are only read, so they need not be copied.
			err := v.Reader.List(ctx, &list, client.UnsafeDisableDeepCopy)
			return list.Items, err
		},
	}
}

// versionGauge counts ModelVersions at each scrape.
type versionGauge struct {
	all, byNamespace *prometheus.Desc

	list func() ([]v1alpha1.ModelVersion, error)
}

// Describe implements prometheus.Collector.
func (g versionGauge) Describe(descs chan<- *prometheus.Desc) {
	descs <- g.all
	descs <- g.byNamespace
}

// stateCount counts ModelVersions by state.
type stateCount map[lifecycle.VersionState]float64

func (c stateCount) total() (sum float64) {
	for _, count := range c {
		sum += count
	}
	return sum
}

// collect collects a series for each state, whether or not there are ModelVersions.
func (c stateCount) collect(collected chan<- prometheus.Metric, desc *prometheus.Desc, labels ...string) {
	for _, state := range lifecycle.VersionStates {
		collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, c[state], append(labels, string(state))...)
	}
}

// Collect implements prometheus.Collector.
func (g versionGauge) Collect(collected chan<- prometheus.Metric) {
	list, err := g.list()
	if err != nil {
		collected <- prometheus.NewInvalidMetric(g.all, fmt.Errorf("list ModelVersions: %w", err))
		return
	}
	count, byNamespace := stateCount{}, map[string]stateCount{}
	for i := range list {
		state, namespace := lifecycle.StateOfVersion(&list[i]), list[i].Namespace
		count[state]++
		if byNamespace[namespace] == nil {
			byNamespace[namespace] = stateCount{}
		}
		byNamespace[namespace][state]++
	}
	count.collect(collected, g.all)
	for namespace, count := range limited(byNamespace) {
		count.collect(collected, g.byNamespace, namespace)
	}
}

// limited returns the counts of the namespaces with the most ModelVersions, and the sum of
// all others.
func limited(byNamespace map[string]stateCount) map[string]stateCount {
	if len(byNamespace) <= maxNamespaces {
		return byNamespace
	}
	order := slices.SortedFunc(maps.Keys(byNamespace), func(a, b string) int {
		return cmp.Or(cmp.Compare(byNamespace[b].total(), byNamespace[a].total()), cmp.Compare(a, b))
	})
	others := stateCount{}
	for _, namespace := range order[maxNamespaces:] {
		for state, count := range byNamespace[namespace] {
			others[state] += count
		}
		delete(byNamespace, namespace)
	}
	byNamespace[otherNamespaces] = others
	return byNamespace
}
