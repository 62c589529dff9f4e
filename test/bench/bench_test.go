// Package bench measures what a version costs the operator, and what a file
// costs a build. Figures are for comparing within one run: make bench.
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
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

const fileSize = 64 << 20

// BenchmarkNextStep is the operator's thinking in one pass over a version
// whose build runs.
func BenchmarkNextStep(b *testing.B) {
	mv := builders.MakeModelVersion("mv-3", "default").UID("1c072aaa-0000-4000-8000-000000000000").LocalStorage("/foo", "node-1").Obj()
	observed := translate.Observed{
		Version:       mv,
		Workflows:     []*wfv1.Workflow{builders.MakeWorkflow(mv, 1).Running(contract.StepBuild).Obj()},
		TemplateFound: true,
	}
	for b.Loop() {
		translate.NextStep(observed, translate.Options{WorkflowTemplate: "modelkiln-build"})
	}
}

// BenchmarkPlan is the planning of a model of ten thousand files.
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

// BenchmarkCopy is what copying a file costs at least; BenchmarkPack beside it
// also hashes, and notices changes.
func BenchmarkCopy(b *testing.B) {
	root, to := folderWithFile(b), filepath.Join(b.TempDir(), "copy")
	b.SetBytes(fileSize)
	for b.Loop() {
		intoFile(b, to, func(w io.Writer) {
			file, err := root.Open("weights.bin")
			require.NoError(b, err)
			// Hidden from io.Copy, the file cannot be copied by the kernel alone.
			_, err = io.Copy(struct{ io.Writer }{w}, file)
			require.NoError(b, err)
			require.NoError(b, file.Close())
		})
	}
}

// BenchmarkPack is how a build reads one file of the model.
func BenchmarkPack(b *testing.B) {
	root, to := folderWithFile(b), filepath.Join(b.TempDir(), "copy")
	info, err := root.Stat("weights.bin")
	require.NoError(b, err)
	plan, err := layer.NewPlan([]layer.SourceEntry{{Path: "weights.bin", Size: info.Size(), Mode: fs.FileMode(0o644), ModTime: info.ModTime()}})
	require.NoError(b, err)
	entry := plan.Entries()[len(plan.Entries())-1]
	b.SetBytes(fileSize)
	for b.Loop() {
		intoFile(b, to, func(w io.Writer) {
			_, err := source.Read(b.Context(), root, entry, w)
			require.NoError(b, err)
		})
	}
}

// BenchmarkHash is how the engine Stream finds out whether a file is one that an
// earlier version has: as part of its layer, and without a copy.
func BenchmarkHash(b *testing.B) {
	root := folderWithFile(b)
	info, err := root.Stat("weights.bin")
	require.NoError(b, err)
	layout, err := layer.NewArchive("kubedl-model", []layer.Entry{{Path: "weights.bin", Type: layer.File, Mode: layer.ModeReadable, Size: info.Size(), ModTime: info.ModTime().UnixNano()}})
	require.NoError(b, err)
	b.SetBytes(fileSize)
	for b.Loop() {
		content := source.Archive{Root: root, Layout: layout}.Open(b.Context(), 0)
		_, err := io.Copy(sha256.New(), struct{ io.Reader }{content})
		require.NoError(b, err)
		require.NoError(b, content.Close())
	}
}

func folderWithFile(b *testing.B) *os.Root {
	dir := b.TempDir()
	file := filepath.Join(dir, "weights.bin")
	require.NoError(b, os.WriteFile(file, make([]byte, fileSize), 0o644))
	require.NoError(b, os.Chtimes(file, time.Time{}, time.Unix(1_700_000_000, 0)))
	root, err := os.OpenRoot(dir)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, root.Close()) })
	return root
}

// intoFile gives copy an empty file, the same each time.
func intoFile(b *testing.B, name string, copy func(io.Writer)) {
	file, err := os.Create(name)
	require.NoError(b, err)
	copy(file)
	require.NoError(b, file.Close())
}
