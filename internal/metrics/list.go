package metrics

import "github.com/prometheus/client_golang/prometheus"

// Metric is one metric, as a scrape and the README tell of it.
type Metric struct {
	Name string
	// Type is counter, gauge or histogram.
	Type string
	// Labels have few values each: names of people's objects are none.
	Labels []string
	// Help is what a scrape says of it: one line.
	Help string
	// Meaning is what else a reader has to know.
	Meaning string
}

// All are the operator's own metrics.
var All = []Metric{builds, buildSeconds, stepSeconds, attempts, packagedBytes, versions}

var (
	builds = Metric{
		Name: "modelkiln_builds_total", Type: "counter", Labels: []string{"result", "reason"},
		Help: "Attempts that ended, by result (succeeded, failed) and by the reason of the Ready condition.",
		Meaning: "Counted once, after the status was written; retries and resubmitted Workflows count too. " +
			"A reason that only a template of your own gives is `Other`. Not counted: a version that cannot be built at all, " +
			"and an attempt in whose place the operator makes the next one at once, such as one that was deleted while it ran.",
	}
	buildSeconds = Metric{
		Name: "modelkiln_build_duration_seconds", Type: "histogram", Labels: []string{"result"},
		Help:    "How long attempts took from start to finish, by result (succeeded, failed).",
		Meaning: "From when Argo started it: to wait for a lock is not in it. An attempt that was deleted, or ended since its pod did not start, has none.",
	}
	stepSeconds = Metric{
		Name: "modelkiln_build_step_duration_seconds", Type: "histogram", Labels: []string{"step"},
		Help:    "How long the steps of attempts that ended took, by step (mount-check, build, status-report).",
		Meaning: "As Argo saw it, which can be some seconds late. The first step's time begins with the pod: to find a node and to pull images is in it. A step that failed counts, one that did not run does not.",
	}
	attempts = Metric{
		Name: "modelkiln_attempts_total", Type: "counter",
		Help:    "Workflows that the operator created.",
		Meaning: "What people resubmit is not in it.",
	}
	packagedBytes = Metric{
		Name: "modelkiln_packaged_bytes_total", Type: "counter",
		Help:    "Size of the files that attempts which succeeded packaged.",
		Meaning: "Before compression and without the base image.",
	}
	versions = Metric{
		Name: "modelkiln_modelversions", Type: "gauge", Labels: []string{"state"},
		Help:    "ModelVersions that exist, by state (waiting, building, failed, ready).",
		Meaning: "Counted at each scrape, by the replica that leads. `waiting` for long: is Argo there, and the template, and a node? `failed`: a person has to act. What KubeDL ended is in it.",
	}
)

func (m Metric) opts() prometheus.Opts { return prometheus.Opts{Name: m.Name, Help: m.Help} }

// histogram has buckets from a second, since Argo tells whole seconds, to the
// deadline of builds.
func (m Metric) histogram() prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: m.Name, Help: m.Help,
		Buckets: []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600},
	}
}
