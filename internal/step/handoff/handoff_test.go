package handoff

import (
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

func TestDir(t *testing.T) {
	t.Run("returns the plan that was written", func(t *testing.T) {
		dir := Dir(t.TempDir())
		want := Plan{
			Storage: source.Storage{Mount: "/source", Name: "the claim", Checked: &source.Identity{Device: 1, Inode: 2}},
			Model:   layer.Plan{Layers: [][]layer.Entry{{{Path: "a", Type: layer.File, Size: 1, Mode: layer.ModeReadable, ModTime: 3}}}, Files: 1, Bytes: 1},
			Base:    BaseImage{Name: Scratch, Variants: []BaseVariant{{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}, Reference: Scratch}}},
		}
		require.NoError(t, dir.WritePlan(want))
		got, err := dir.ReadPlan()
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
	t.Run("returns the expectation that was written", func(t *testing.T) {
		dir := Dir(t.TempDir())
		want := Expectation{ManifestSHA256: "aa", Layers: []layer.BuiltLayer{{DiffID: "sha256:1", Files: 1, Bytes: 2}}}
		require.NoError(t, dir.WriteExpectation(want))
		got, err := dir.ReadExpectation()
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
	t.Run("returns an error for a file that is absent or damaged", func(t *testing.T) {
		dir := Dir(t.TempDir())
		_, err := dir.ReadPlan()
		require.ErrorContains(t, err, "read the output of an earlier step")
		require.NoError(t, os.WriteFile(dir.Path(expectationFile), []byte(`{"digest`), 0o600))
		_, err = dir.ReadExpectation()
		require.ErrorContains(t, err, expectationFile)
	})
	t.Run("replaces the report of an earlier attempt", func(t *testing.T) {
		dir := Dir(t.TempDir())
		require.NoError(t, dir.UpdateReport(func(r *report.Report) { r.Failure = &report.Failure{} }))
		require.NoError(t, dir.StartReport(report.Run{WorkflowUID: "w"}))
		require.NoError(t, dir.UpdateReport(func(r *report.Report) { r.Source = &report.Source{Files: 1} }))
		got, err := dir.ReadReport()
		require.NoError(t, err)
		assert.Equal(t, report.Report{Run: report.Run{WorkflowUID: "w"}, Source: &report.Source{Files: 1}}, got)
	})
}
