package step

import (
	"context"
	"flag"
	"io"
	"time"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

// output is the command of the container main, from which Argo collects the
// Workflow's outputs and of which "argo logs WORKFLOW" prints the log. The steps
// write the report; output waits for it and logs its result. It never fails: the
// steps decide whether the build has succeeded.
type output struct {
	*paths
}

// reportInterval is how often output reads the report. Argo checks once per second
// whether a container has finished.
const reportInterval = 200 * time.Millisecond

func defineOutput(_ *flag.FlagSet, p *paths) action {
	return output{paths: p}.run
}

// run logs the result of the build when the report has one, or when the pod is
// terminated. Argo terminates the pod after a step has failed, even if the step could
// not report why.
func (o output) run(ctx context.Context, log io.Writer) error {
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if !o.logResult(log) {
				console.Logf(log, "the build ended without a report of a result: read the logs of the steps, with the arguments -c mount-check, -c build and -c status-report of argo logs")
			}
			return nil
		case <-ticker.C:
			if o.logResult(log) {
				return nil
			}
		}
	}
}

// logResult logs the result in the report, and reports whether there is one. A
// report that cannot be read has none.
func (o output) logResult(log io.Writer) bool {
	r, err := o.shared.ReadReport()
	if err != nil {
		return false
	}
	switch {
	case r.Failure != nil:
		console.Logf(log, "FAILED %s: %s: %s", r.Failure.Step, r.Failure.Reason, r.Failure.Message)
	case r.Image != nil:
		console.Logf(log, "%s: %s", outcome(r), pushed(r.Image))
	default:
		return false
	}
	return true
}

// pushed returns the reference of an image with its tag and its digest.
func pushed(image *report.Image) string { return image.Reference + "@" + image.Digest }
