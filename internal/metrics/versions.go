package metrics

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// Versions counts the versions by state while its manager leads: the gauge is
// there when the cache is, and replicas do not count the same versions twice.
// It has no namespace as a label: that would be as many series as a cluster
// has tenants, for an answer that kubectl get mv has too.
type Versions struct {
	// Reader reads from the cache.
	Reader client.Reader
	// Registry is where the gauge is found.
	Registry prometheus.Registerer
}

// Start registers the gauge until the manager ends.
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
		desc: prometheus.NewDesc(versions.Name, versions.Help, versions.Labels, nil),
		list: func() ([]v1alpha1.ModelVersion, error) {
			var list v1alpha1.ModelVersionList
			// They are read, and no more than that.
			err := v.Reader.List(ctx, &list, client.UnsafeDisableDeepCopy)
			return list.Items, err
		},
	}
}

// versionGauge counts when it is asked.
type versionGauge struct {
	desc *prometheus.Desc
	list func() ([]v1alpha1.ModelVersion, error)
}

// Describe says what Collect collects.
func (g versionGauge) Describe(descs chan<- *prometheus.Desc) { descs <- g.desc }

// Collect counts the versions of each state, those of none included.
func (g versionGauge) Collect(collected chan<- prometheus.Metric) {
	list, err := g.list()
	if err != nil {
		collected <- prometheus.NewInvalidMetric(g.desc, fmt.Errorf("list ModelVersions: %w", err))
		return
	}
	count := map[lifecycle.VersionState]float64{}
	for i := range list {
		count[lifecycle.StateOfVersion(&list[i])]++
	}
	for _, state := range lifecycle.VersionStates {
		collected <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, count[state], string(state))
	}
}
