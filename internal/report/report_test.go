package report_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/report"
)

// full returns a report in which every field is set.
func full() report.Report {
	return report.Report{
		Run:     report.Run{WorkflowUID: "w", ModelVersionUID: "m", Image: "modelhub/resnet:v1c072"},
		Source:  &report.Source{Files: 7, Bytes: 1 << 40, Layers: 2, Skipped: 1, Advice: "1.2 GiB of 3.0 GiB are not the model", AlreadyPushed: true},
		Build:   &report.Build{SentBytes: 3, ReusedBytes: 4},
		Image:   &report.Image{Reference: "modelhub/resnet:v1c072", Digest: "sha256:2", Bytes: 5, Layers: 3, PullSecret: "regcred"},
		Failure: &report.Failure{Step: "build", Reason: "BuildFailed", Message: "it said \"no\"\n<&>\u2028é模", Transient: true},
	}
}

func TestRead(t *testing.T) {
	for name, want := range map[string]report.Report{
		"a full report":   full(),
		"an empty report": {},
		"the report of the first step": {
			Run:    report.Run{WorkflowUID: "w", Image: "modelhub/resnet:v1c072"},
			Source: &report.Source{},
		},
	} {
		t.Run("returns what was written: "+name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, report.Write(dir, want))
			got, err := report.Read(dir)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	t.Run("returns an empty report if there is none yet", func(t *testing.T) {
		got, err := report.Read(t.TempDir())
		require.NoError(t, err)
		assert.Equal(t, report.Report{}, got)
	})
	t.Run("returns an error if the report cannot be read", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, report.FileName), 0o755))
		_, err := report.Read(dir)
		require.ErrorContains(t, err, "read report")
	})
}

func TestParse(t *testing.T) {
	// The workflow outputs the content of the file unchanged.
	t.Run("reads the content of the file", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, report.Write(dir, full()))
		raw, err := os.ReadFile(filepath.Join(dir, report.FileName))
		require.NoError(t, err)
		got, err := report.Parse(string(raw))
		require.NoError(t, err)
		assert.Equal(t, full(), got)
	})
	// The steps of a later release may write more.
	t.Run("ignores unknown fields", func(t *testing.T) {
		got, err := report.Parse(`{"run":{"workflowUID":"w","image":"i","colour":"blue"},"weather":{}}`)
		require.NoError(t, err)
		assert.Equal(t, "w", got.Run.WorkflowUID)
	})
	for name, text := range map[string]string{
		"an empty text":      "",
		"a truncated report": `{"run":{"workflowUID":"w"`,
		"another document":   "hello",
		"numbers as strings": `{"source":{"files":"7"}}`,
		"two reports":        `{}{}`,
	} {
		t.Run("rejects "+name, func(t *testing.T) {
			_, err := report.Parse(text)
			require.ErrorContains(t, err, "parse report")

			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, report.FileName), []byte(text), 0o644))
			_, err = report.Read(dir)
			require.ErrorContains(t, err, "parse report")
		})
	}
}

func TestWrite(t *testing.T) {
	// Parts of steps that did not run are absent, so that operator and steps of
	// different releases agree on what was done.
	t.Run("omits absent parts", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, report.Write(dir, report.Report{Run: report.Run{WorkflowUID: "w", Image: "i"}}))
		raw, err := os.ReadFile(filepath.Join(dir, report.FileName))
		require.NoError(t, err)
		assert.JSONEq(t, `{"run":{"workflowUID":"w","image":"i"}}`, string(raw))
	})
	// Steps run as different users. A rename needs write access to the directory
	// only, and removes what a killed step left behind.
	t.Run("replaces another user's report", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, report.Write(dir, full()))
		file := filepath.Join(dir, report.FileName)
		before, err := os.Stat(file)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(file, 0o400))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "."+report.FileName), []byte("killed"), 0o400))

		require.NoError(t, report.Write(dir, report.Report{Run: report.Run{WorkflowUID: "w"}}))

		got, err := report.Read(dir)
		require.NoError(t, err)
		assert.Equal(t, report.Report{Run: report.Run{WorkflowUID: "w"}}, got)
		after, err := os.Stat(file)
		require.NoError(t, err)
		assert.False(t, os.SameFile(before, after), "the file is a new one, not the other user's")
		assert.Equal(t, os.FileMode(0o444), after.Mode().Perm()&0o444, "every user can read it")
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1, "no other file remains")
	})
	t.Run("returns an error if it cannot write", func(t *testing.T) {
		require.ErrorContains(t, report.Write(filepath.Join(t.TempDir(), "none"), full()), "write report")

		dir := t.TempDir()
		// A directory that is not empty cannot be replaced by a file.
		require.NoError(t, os.MkdirAll(filepath.Join(dir, report.FileName, "a"), 0o755))
		require.ErrorContains(t, report.Write(dir, full()), "write report")
	})
	// Argo keeps outputs in the Workflow itself, whose size is limited.
	t.Run("writes a small file", func(t *testing.T) {
		r := full()
		r.Failure.Message = strings.Repeat("é", 500)
		r.Source.Bytes, r.Image.Bytes, r.Build.SentBytes = math.MaxInt64, math.MaxInt64, math.MaxInt64
		dir := t.TempDir()
		require.NoError(t, report.Write(dir, r))
		info, err := os.Stat(filepath.Join(dir, report.FileName))
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(4<<10))
	})
}
