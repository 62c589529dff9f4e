package step

import (
	"bytes"
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

var (
	failedReport    = report.Report{Failure: &report.Failure{Step: "mount-check", Reason: "SourceMissing", Message: "there is no directory /foo"}}
	pushedReport    = report.Report{Source: &report.Source{Files: 1}, Image: &report.Image{Reference: "registry.example.com/team/resnet:v1", Digest: "sha256:ab"}}
	unchangedReport = report.Report{Source: &report.Source{Files: 1, AlreadyPushed: true}, Image: pushedReport.Image}
)

func TestOutput(t *testing.T) {
	tests := map[string]struct {
		report report.Report
		want   string
	}{
		"a failure":                {failedReport, "FAILED mount-check: SourceMissing: there is no directory /foo\n"},
		"a failure after the push": {report.Report{Source: pushedReport.Source, Image: pushedReport.Image, Failure: failedReport.Failure}, "FAILED mount-check: SourceMissing: there is no directory /foo\n"},
		"an image":                 {pushedReport, "pushed and verified: registry.example.com/team/resnet:v1@sha256:ab\n"},
		"an image of before":       {unchangedReport, "verified, already in the registry: registry.example.com/team/resnet:v1@sha256:ab\n"},
		"a tag of an alias":        {report.Report{Image: pushedReport.Image}, "the tag was moved and verified: registry.example.com/team/resnet:v1@sha256:ab\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			shared := t.TempDir()
			require.NoError(t, report.Write(shared, tt.report))
			var out bytes.Buffer
			assert.Equal(t, exitOK, Main(t.Context(), []string{"output", "--shared=" + shared}, &out, &out))
			assert.Equal(t, tt.want, out.String())
		})
	}
}

// main starts together with mount-check.
func TestOutput_waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := handoff.Dir(t.TempDir())
		var out bytes.Buffer
		done := make(chan int)
		go func() { done <- Main(t.Context(), []string{"output", "--shared=" + string(shared)}, &out, &out) }()

		require.NoError(t, shared.StartReport(report.Run{Image: "registry.example.com/team/resnet:v1"}))
		assertWaits(t, done)
		require.NoError(t, os.WriteFile(shared.Path(report.FileName), []byte("{"), 0o600))
		assertWaits(t, done)
		require.NoError(t, report.Write(string(shared), pushedReport))

		assert.Equal(t, exitOK, <-done)
		assert.Equal(t, "pushed and verified: registry.example.com/team/resnet:v1@sha256:ab\n", out.String())
	})
}

func assertWaits(t *testing.T, done <-chan int) {
	t.Helper()
	select {
	case <-done:
		require.Fail(t, "the report has no result yet")
	case <-time.After(time.Minute):
	}
}

// Argo terminates the pod when a step has failed.
func TestOutput_terminated(t *testing.T) {
	tests := map[string]struct {
		report report.Report
		want   string
	}{
		"a step has reported why it failed": {failedReport, "FAILED mount-check: SourceMissing: there is no directory /foo\n"},
		"a step was killed":                 {report.Report{Source: pushedReport.Source}, "the build ended without a report of a result: read the logs of the steps, with the arguments -c mount-check, -c build and -c status-report of argo logs\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			shared := t.TempDir()
			require.NoError(t, report.Write(shared, tt.report))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var out bytes.Buffer
			assert.Equal(t, exitOK, Main(ctx, []string{"output", "--shared=" + shared}, &out, &out))
			assert.Equal(t, tt.want, out.String())
		})
	}
}
