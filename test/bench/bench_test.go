// Package bench measures the cost of a ModelVersion for the operator and of a
// file for a build: make bench. Compare figures only within one run.
package bench

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

const fileSize = 64 << 20

// BenchmarkNextStep measures the operator's decisions in one reconciliation of a
// ModelVersion whose build is running.
func BenchmarkNextStep(b *testing.B) {
	mv := builders.MakeModelVersion("mv-3", "default").UID("1c072aaa-0000-4000-8000-000000000000").LocalStorage("/foo", "node-1").Obj()
	observed := lifecycle.Observed{
		Version:       mv,
		Workflows:     []*wfv1.Workflow{builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()},
		TemplateFound: true,
	}
	for b.Loop() {
		lifecycle.NextStep(observed, workflow.Options{WorkflowTemplate: "modelkiln-build"})
	}
}

// BenchmarkPlan measures the layer plan of a model of ten thousand files.
func BenchmarkPlan(b *testing.B) {
	var listing []layer.SourceEntry
	for i := range 10_000 {
		listing = append(listing, layer.SourceEntry{Path: fmt.Sprintf("shard-%05d.bin", i), Size: int64(i) << 14, Mode: 0o644})
	}
	for b.Loop() {
		_, err := layer.NewPlan(listing)
		require.NoError(b, err)
	}
}

// BenchmarkCopy measures copying a file, as the lower bound for BenchmarkPack,
// which also hashes the file and detects changes.
func BenchmarkCopy(b *testing.B) {
	root, to := newRoot(b), filepath.Join(b.TempDir(), "copy")
	b.SetBytes(fileSize)
	for b.Loop() {
		writeFile(b, to, func(w io.Writer) {
			file, err := root.Open("weights.bin")
			require.NoError(b, err)
			// The wrapper keeps io.Copy from using copy_file_range(2).
			_, err = io.Copy(struct{ io.Writer }{w}, file)
			require.NoError(b, err)
			require.NoError(b, file.Close())
		})
	}
}

// BenchmarkPack measures how a build reads one file of the model.
func BenchmarkPack(b *testing.B) {
	root, to := newRoot(b), filepath.Join(b.TempDir(), "copy")
	info, err := root.Stat("weights.bin")
	require.NoError(b, err)
	plan, err := layer.NewPlan([]layer.SourceEntry{{Path: "weights.bin", Size: info.Size(), Mode: fs.FileMode(0o644), ModTime: info.ModTime()}})
	require.NoError(b, err)
	entry := plan.Entries()[len(plan.Entries())-1]
	b.SetBytes(fileSize)
	for b.Loop() {
		writeFile(b, to, func(w io.Writer) {
			_, err := source.Read(b.Context(), source.NewDirectory(root), entry, w)
			require.NoError(b, err)
		})
	}
}

// BenchmarkHash measures how the engine Stream determines whether the previous
// image contains a file: it hashes the file's layer without a copy.
func BenchmarkHash(b *testing.B) {
	root := newRoot(b)
	info, err := root.Stat("weights.bin")
	require.NoError(b, err)
	layout, err := layer.NewArchive("kubedl-model", []layer.Entry{{Path: "weights.bin", Type: layer.File, Mode: layer.ModeReadable, Size: info.Size(), ModTime: info.ModTime().UnixNano()}})
	require.NoError(b, err)
	b.SetBytes(fileSize)
	for b.Loop() {
		content := source.Archive{Files: source.NewDirectory(root), Layout: layout}.Open(b.Context(), 0)
		_, err := io.Copy(sha256.New(), struct{ io.Reader }{content})
		require.NoError(b, err)
		require.NoError(b, content.Close())
	}
}

// newRoot returns a directory that contains the file weights.bin.
func newRoot(b *testing.B) *os.Root {
	dir := b.TempDir()
	file := filepath.Join(dir, "weights.bin")
	require.NoError(b, os.WriteFile(file, make([]byte, fileSize), 0o644))
	require.NoError(b, os.Chtimes(file, time.Time{}, time.Unix(1_700_000_000, 0)))
	root, err := os.OpenRoot(dir)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, root.Close()) })
	return root
}

// writeFile truncates the file name and calls write with it.
func writeFile(b *testing.B, name string, write func(io.Writer)) {
	file, err := os.Create(name)
	require.NoError(b, err)
	write(file)
	require.NoError(b, file.Close())
}
