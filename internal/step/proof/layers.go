package proof

import (
	"archive/tar"
	"context"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

const (
	// maxOverhead is the largest number of bytes in an archive for an entry, besides
	// its content: its headers, with a path and a link target of at most 4 KiB each.
	maxOverhead = 16 << 10
	// maxPadding is the largest number of bytes at the end of an archive.
	maxPadding = 1 << 20
)

// maxArchive returns how long the archive of a layer of a plan can be, in bytes.
func maxArchive(plan layer.Plan, number int) int64 {
	_, size := layer.Count(plan.Layers[number])
	// The first layer holds all directories, which Kaniko repeats in others.
	entries := len(plan.Layers[0]) + len(plan.Layers[number]) + 1
	return size + int64(entries)*maxOverhead + maxPadding
}

// checkArchive checks that a blob holds the archive that the image's config names.
func checkArchive(ctx context.Context, l v1.Layer, diffID string, plan layer.Plan, number int) error {
	return modelimage.ReadLayer(l, diffID, maxArchive(plan, number), func(*tar.Header, io.Reader) error { return ctx.Err() })
}

// checkModelLayer checks that a layer of Kaniko holds the files of a layer of a
// plan, whose SHA-256 digests has by path, and nothing else.
func checkModelLayer(ctx context.Context, l v1.Layer, diffID string, plan layer.Plan, number int, digests map[string]string) error {
	want := newContent(diffID, digests)
	for dir := path.Dir(plan.ModelDir()); dir != layer.RootDir; dir = path.Dir(dir) {
		want.allow(dir, layer.Entry{Type: layer.Dir, Mode: layer.ModeExecutable})
	}
	for _, e := range plan.Layers[0] {
		if e.Type == layer.Dir {
			want.allow(path.Join(plan.ModelDir(), e.Path), e)
		}
	}
	for _, e := range plan.Layers[number] {
		want.require(path.Join(plan.ModelDir(), e.Path), e)
	}
	return want.check(ctx, l, maxArchive(plan, number))
}

// checkManifestLayer checks that the last layer holds the manifest of the model's
// files, which was compared before, the links to the model, and nothing else. Earlier
// versions of Stream did not write the one for KServe.
func checkManifestLayer(ctx context.Context, l v1.Layer, diffID string, links []layer.Entry) error {
	want := newContent(diffID, nil)
	want.allow(layer.ModelDir, layer.Entry{Type: layer.Dir, Mode: layer.ModeExecutable})
	want.require(layer.ManifestDir, layer.Entry{Type: layer.Dir, Mode: layer.ModeExecutable})
	want.require(layer.ManifestFile, layer.Entry{Type: layer.File, Mode: layer.ModeReadable, Size: anySize})
	for _, link := range links {
		if link.Path == layer.ModelDir {
			want.require(link.Path, link)
			continue
		}
		want.allow(link.Path, link)
	}
	return want.check(ctx, l, modelimage.MaxManifestSize)
}
