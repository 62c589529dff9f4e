package report_test

import (
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
		Source:  &report.Source{Files: 7, Bytes: 1 << 40, Layers: 2, Skipped: 1, AlreadyPushed: true},
		Build:   &report.Build{Layers: []report.BuiltLayer{{DiffID: "sha256:1", Files: 3, Bytes: 4}}},
		Image:   &report.Image{Reference: "modelhub/resnet:v1c072", Digest: "sha256:2", Bytes: 5, Layers: 3},
		Failure: &report.Failure{Step: "build", Reason: "BuildFailed", Message: "it said \"no\"\n<&>\u2028é模"},
	}
}

func TestWriteAndRead(t *testing.T) {
	for name, want := range map[string]report.Report{
		"full":  full(),
		"empty": {},
		"the first step only": {
			Run:    report.Run{WorkflowUID: "w", Image: "modelhub/resnet:v1c072"},
			Source: &report.Source{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, report.Write(dir, want))
			got, err := report.Read(dir)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// The workflow's output is the content of the file, and the operator parses that.
func TestParseWrittenFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, report.Write(dir, full()))
	raw, err := os.ReadFile(filepath.Join(dir, report.FileName))
	require.NoError(t, err)
	got, err := report.Parse(string(raw))
	require.NoError(t, err)
	assert.Equal(t, full(), got)
}

// The part of a step that did not run is absent, so that operators and steps of
// different releases agree on what exists.
func TestWriteOmitsAbsentParts(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, report.Write(dir, report.Report{Run: report.Run{WorkflowUID: "w", Image: "i"}}))
	raw, err := os.ReadFile(filepath.Join(dir, report.FileName))
	require.NoError(t, err)
	assert.JSONEq(t, `{"run":{"workflowUID":"w","image":"i"}}`, string(raw))
}

func TestReadWithoutReport(t *testing.T) {
	got, err := report.Read(t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, report.Report{}, got)
}

func TestParseErrors(t *testing.T) {
	for name, text := range map[string]string{
		"no text":            "",
		"a truncated report": `{"run":{"workflowUID":"w"`,
		"another document":   "hello",
		"numbers as strings": `{"source":{"files":"7"}}`,
		"two reports":        `{}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := report.Parse(text)
			require.ErrorContains(t, err, "parse report")

			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, report.FileName), []byte(text), 0o644))
			_, err = report.Read(dir)
			require.ErrorContains(t, err, "parse report")
		})
	}
}

// Steps of a later release may report more.
func TestParseIgnoresUnknownFields(t *testing.T) {
	got, err := report.Parse(`{"run":{"workflowUID":"w","image":"i","colour":"blue"},"weather":{}}`)
	require.NoError(t, err)
	assert.Equal(t, "w", got.Run.WorkflowUID)
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, report.FileName), 0o755))
	_, err := report.Read(dir)
	require.ErrorContains(t, err, "read report")
}

// Steps run as different users: a step replaces the report of the previous one by a
// rename, which requires permissions on the directory only, and everyone can read the
// result. A temporary file left by a killed step does no harm.
func TestWriteReplacesTheReportOfAnotherUser(t *testing.T) {
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
	assert.False(t, os.SameFile(before, after), "the file is replaced and not overwritten")
	assert.Equal(t, os.FileMode(0o444), after.Mode().Perm()&0o444, "everyone can read it")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file is left")
}

func TestWriteErrors(t *testing.T) {
	require.ErrorContains(t, report.Write(filepath.Join(t.TempDir(), "none"), full()), "write report")

	dir := t.TempDir()
	require.NoError(t, report.Write(dir, full()))
	// A directory that is not empty in place of the file.
	file := filepath.Join(dir, report.FileName)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.MkdirAll(filepath.Join(file, "child"), 0o755))
	require.ErrorContains(t, report.Write(dir, full()), "write report")
}

// Argo stores outputs in the Workflow, whose size is limited.
func TestWriteIsSmall(t *testing.T) {
	r := full()
	for range 100 {
		r.Build.Layers = append(r.Build.Layers, report.BuiltLayer{DiffID: "sha256:" + strings.Repeat("a", 64), Files: 1 << 30, Bytes: 1 << 50})
	}
	dir := t.TempDir()
	require.NoError(t, report.Write(dir, r))
	info, err := os.Stat(filepath.Join(dir, report.FileName))
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(32<<10))
}
