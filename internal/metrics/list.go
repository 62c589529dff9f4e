package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric describes one metric for the scrape and for api/docs/metrics.md.
type Metric struct {
	Name string
	// Type is counter, gauge or histogram.
	Type string
	// Labels have few values each. Names of objects are never labels, except for those of
	// a bounded number of namespaces.
	Labels []string
	// Help is the help text of the scrape, on one line.
	Help string
	// Details are what else the document has to explain.
	Details string
}

// All lists the operator's own metrics.
var All = []Metric{builds, buildSeconds, stepSeconds, attempts, packagedBytes, sentBytes, reusedBytes, versions, namespaceBuilds, namespaceVersions, rejectedWrites, watchErrors}

// boundedNamespaces describes the counters by namespace.
var boundedNamespaces = fmt.Sprintf("The first %d namespaces with builds since the start of the operator have their own series. The rest is `%s`.", maxNamespaces, otherNamespaces)

var (
	builds = Metric{
		Name: "modelkiln_builds_total", Type: "counter", Labels: []string{"result", "reason"},
		Help: "Total number of finished build attempts, by result (succeeded, failed) and reason of the Ready condition.",
		Details: "Counted once, after the status was written. Retries and resubmitted Workflows are included. " +
			"The reason is `Other` if only a custom template reports it. Not counted: ModelVersions that cannot be built at all, " +
			"and attempts that the operator replaces at once, for example because they were deleted while running.",
	}
	buildSeconds = Metric{
		Name: "modelkiln_build_duration_seconds", Type: "histogram", Labels: []string{"result"},
		Help: "Duration of build attempts in seconds, by result (succeeded, failed).",
		Details: "Measured from Workflow start; time spent waiting for the mutex is excluded. " +
			"Not recorded for deleted attempts or pods that never started.",
	}
	stepSeconds = Metric{
		Name: "modelkiln_build_step_duration_seconds", Type: "histogram", Labels: []string{"step"},
		Help: "Duration of the steps of finished build attempts in seconds, by step (mount-check, build, status-report).",
		Details: "As reported by Argo, which can be some seconds late. The first step includes the time to schedule the pod and to pull images. " +
			"Failed steps are included; steps that did not run are not.",
	}
	attempts = Metric{
		Name: "modelkiln_attempts_total", Type: "counter",
		Help:    "Total number of Workflows created by the operator.",
		Details: "Workflows that users resubmit are not included.",
	}
	packagedBytes = Metric{
		Name: "modelkiln_packaged_bytes_total", Type: "counter",
		Help:    "Total size of model files packaged by successful builds, in bytes.",
		Details: "Before compression and without the base image.",
	}
	sentBytes = Metric{
		Name: "modelkiln_sent_bytes_total", Type: "counter",
		Help:    "Total size of model layers that successful builds uploaded to registries, in bytes.",
		Details: "As stored in the registry. Kaniko uploads every layer that it builds.",
	}
	reusedBytes = Metric{
		Name: "modelkiln_reused_bytes_total", Type: "counter",
		Help:    "Total size of model layers that registries already had when successful builds needed them, in bytes.",
		Details: "What the engine Stream did not upload.",
	}
	namespaceBuilds = Metric{
		Name: "modelkiln_namespace_builds_total", Type: "counter", Labels: []string{"namespace", "result"},
		Help:    "Total number of finished build attempts, by namespace and result (succeeded, failed).",
		Details: fmt.Sprintf("Counted as `%s`. %s", builds.Name, boundedNamespaces),
	}
	namespaceVersions = Metric{
		Name: "modelkiln_namespace_modelversions", Type: "gauge", Labels: []string{"namespace", "state"},
		Help:    "Number of ModelVersions, by namespace and state (waiting, building, failed, ready).",
		Details: fmt.Sprintf("Counted as `%s`. At most %d namespaces, those with the most ModelVersions, have their own series. The rest is `%s`.", versions.Name, maxNamespaces, otherNamespaces),
	}
	rejectedWrites = Metric{
		Name: "modelkiln_rejected_writes_total", Type: "counter",
		Help:    "Total number of writes of the operator that the API server rejected.",
		Details: "A quota, an admission policy or a missing permission; the condition of the ModelVersion has the message.",
	}
	watchErrors = Metric{
		Name: "modelkiln_watch_errors_total", Type: "counter", Labels: []string{"kind"},
		Help: "Total number of failed lists and watches, by Go type or kind.",
		Details: "Some are normal when the API server restarts. A steady increase means that the operator does not see changes: " +
			"check its permissions and the API server.",
	}
	versions = Metric{
		Name: "modelkiln_modelversions", Type: "gauge", Labels: []string{"state"},
		Help: "Number of ModelVersions, by state (waiting, building, failed, ready).",
		Details: "Counted at each scrape by the leader. If ModelVersions stay in `waiting`, check that Argo Workflows, the template and a suitable node are available. " +
			"`failed` needs action by a user. ModelVersions that KubeDL finished are included.",
	}
)

func (m Metric) opts() prometheus.Opts { return prometheus.Opts{Name: m.Name, Help: m.Help} }

// histogramOpts returns options with buckets from one second, the resolution of
// Argo's timestamps, to the default deadline of builds.
func (m Metric) histogramOpts() prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: m.Name, Help: m.Help,
		Buckets: []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600},
	}
}
