package metrics

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAttempts(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := New(registry)

	m.AttemptCreated("team-a")
	m.AttemptCompleted("team-a", lifecycle.Completion{Reason: v1alpha1.ReasonSourceEmpty, Seconds: ptr.To(4.0), Bytes: 7}, map[string]float64{contract.StepMountCheck: 3})
	m.AttemptCompleted("team-a", lifecycle.Completion{Reason: v1alpha1.ReasonWorkflowDeleted}, nil)
	m.AttemptCreated("team-a")
	m.AttemptCompleted("team-b", lifecycle.Completion{Succeeded: true, Reason: v1alpha1.ReasonSucceeded, Seconds: ptr.To(90.0), Bytes: 50 << 20, SentBytes: 40 << 20, ReusedBytes: 10 << 20},
		map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 80, contract.StepStatusReport: 2})

	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP modelkiln_attempts_total Total number of Workflows created by the operator.
# TYPE modelkiln_attempts_total counter
modelkiln_attempts_total 2
# HELP modelkiln_packaged_bytes_total Total size of model files packaged by successful builds, in bytes.
# TYPE modelkiln_packaged_bytes_total counter
modelkiln_packaged_bytes_total 5.24288e+07
# HELP modelkiln_sent_bytes_total Total size of model layers that successful builds uploaded to registries, in bytes.
# TYPE modelkiln_sent_bytes_total counter
modelkiln_sent_bytes_total 4.194304e+07
# HELP modelkiln_reused_bytes_total Total size of model layers that registries already had when successful builds needed them, in bytes.
# TYPE modelkiln_reused_bytes_total counter
modelkiln_reused_bytes_total 1.048576e+07
# HELP modelkiln_namespace_builds_total Total number of finished build attempts, by namespace and result (succeeded, failed).
# TYPE modelkiln_namespace_builds_total counter
modelkiln_namespace_builds_total{namespace="team-a",result="failed"} 2
modelkiln_namespace_builds_total{namespace="team-a",result="succeeded"} 0
modelkiln_namespace_builds_total{namespace="team-b",result="succeeded"} 1
# HELP modelkiln_build_duration_seconds Duration of build attempts in seconds, by result (succeeded, failed).
# TYPE modelkiln_build_duration_seconds histogram
modelkiln_build_duration_seconds_bucket{result="failed",le="1"} 0
modelkiln_build_duration_seconds_bucket{result="failed",le="2"} 0
modelkiln_build_duration_seconds_bucket{result="failed",le="5"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="10"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="30"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="60"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="120"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="300"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="600"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="1800"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="3600"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="7200"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="21600"} 1
modelkiln_build_duration_seconds_bucket{result="failed",le="+Inf"} 1
modelkiln_build_duration_seconds_sum{result="failed"} 4
modelkiln_build_duration_seconds_count{result="failed"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="1"} 0
modelkiln_build_duration_seconds_bucket{result="succeeded",le="2"} 0
modelkiln_build_duration_seconds_bucket{result="succeeded",le="5"} 0
modelkiln_build_duration_seconds_bucket{result="succeeded",le="10"} 0
modelkiln_build_duration_seconds_bucket{result="succeeded",le="30"} 0
modelkiln_build_duration_seconds_bucket{result="succeeded",le="60"} 0
modelkiln_build_duration_seconds_bucket{result="succeeded",le="120"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="300"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="600"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="1800"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="3600"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="7200"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="21600"} 1
modelkiln_build_duration_seconds_bucket{result="succeeded",le="+Inf"} 1
modelkiln_build_duration_seconds_sum{result="succeeded"} 90
modelkiln_build_duration_seconds_count{result="succeeded"} 1
`), attempts.Name, packagedBytes.Name, buildSeconds.Name))
	assert.InDelta(t, 1, buildCount(m, "failed", v1alpha1.ReasonSourceEmpty), 0)
	assert.InDelta(t, 1, buildCount(m, "failed", v1alpha1.ReasonWorkflowDeleted), 0)
	assert.InDelta(t, 1, buildCount(m, "succeeded", v1alpha1.ReasonSucceeded), 0)
	assert.Equal(t, 3, testutil.CollectAndCount(m.stepSeconds), "one series per step")
}

func TestAttemptCompletedUnknownReason(t *testing.T) {
	m := New(prometheus.NewPedanticRegistry())
	before := testutil.CollectAndCount(m.builds)

	for _, reason := range []string{"ScanFoundAVirus", "Monday", "", "Other"} {
		m.AttemptCompleted("team-a", lifecycle.Completion{Reason: reason}, nil)
	}

	assert.Equal(t, before, testutil.CollectAndCount(m.builds))
	assert.InDelta(t, 4, buildCount(m, "failed", "Other"), 0)
}

func buildCount(m *Metrics, result, reason string) float64 {
	return testutil.ToFloat64(m.builds.WithLabelValues(result, reason))
}

// fixedReader lists the given ModelVersions, or returns an error.
type fixedReader struct {
	client.Reader
	versions []v1alpha1.ModelVersion
	err      error
}

func (r fixedReader) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.ModelVersionList).Items = r.versions
	return r.err
}

// lead starts the gauge as the leading manager does. It runs until the returned
// function is called.
func lead(t *testing.T, v Versions) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- v.Start(ctx) }()
	t.Cleanup(cancel)
	return func() {
		cancel()
		require.NoError(t, <-stopped)
	}
}

func TestVersionsCountsWhileLeading(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	phase := func(p v1alpha1.ImageBuildPhase) v1alpha1.ModelVersion {
		return v1alpha1.ModelVersion{Status: v1alpha1.ModelVersionStatus{ImageBuildPhase: p}}
	}
	reader := fixedReader{versions: []v1alpha1.ModelVersion{phase(""), phase(v1alpha1.ImageBuildSucceeded), phase(v1alpha1.ImageBuildSucceeded)}}
	for range 2 { // A later leader in the same process can register the gauge again.
		stop := lead(t, Versions{Reader: reader, Registry: registry})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.NoError(c, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP modelkiln_modelversions Number of ModelVersions, by state (waiting, building, failed, ready).
# TYPE modelkiln_modelversions gauge
modelkiln_modelversions{state="building"} 0
modelkiln_modelversions{state="failed"} 0
modelkiln_modelversions{state="ready"} 2
modelkiln_modelversions{state="waiting"} 1
`), versions.Name))
		}, 10*time.Second, time.Millisecond)
		stop()
		families, err := registry.Gather()
		require.NoError(t, err)
		assert.Empty(t, families)
	}
}

// Tenants can create more namespaces than there may be series.
func TestNamespacesAreBounded(t *testing.T) {
	m := New(prometheus.NewPedanticRegistry())
	var versions []v1alpha1.ModelVersion
	add := func(namespace string) {
		versions = append(versions, v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}})
	}
	for n := range maxNamespaces + 3 {
		namespace := fmt.Sprintf("team-%03d", n)
		m.AttemptCreated(namespace)
		m.AttemptCompleted(namespace, lifecycle.Completion{}, nil)
		add(namespace)
	}
	add("team-202") // It is the only one with two.
	count := func(namespace string) float64 {
		return testutil.ToFloat64(m.namespaceBuilds.WithLabelValues(namespace, "failed"))
	}
	assert.Equal(t, 2*(maxNamespaces+1), testutil.CollectAndCount(m.namespaceBuilds))
	assert.InDelta(t, 1, count("team-199"), 0)
	assert.InDelta(t, 3, count("_other"), 0)

	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(Versions{Reader: fixedReader{versions: versions}}.gauge(t.Context())))
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); len(labels) == 2 && labels[1].GetValue() == "waiting" {
				got[labels[0].GetValue()] = metric.GetGauge().GetValue()
			}
		}
	}
	assert.Len(t, got, maxNamespaces+1)
	assert.InDelta(t, 2, got["team-202"], 0)
	assert.InDelta(t, 1, got["team-198"], 0)
	assert.NotContains(t, got, "team-199")
	assert.InDelta(t, 3, got["_other"], 0, "of team-199, team-200 and team-201")
}

func TestVersionsListError(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	defer lead(t, Versions{Reader: fixedReader{err: errors.New("no cache")}, Registry: registry})()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := registry.Gather()
		assert.ErrorContains(c, err, "list ModelVersions: no cache")
	}, 10*time.Second, time.Millisecond)
}
