package proof

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
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
	for _, e := range plan.Layers[0] {
		if e.Type == layer.Dir {
			want.allow(path.Join(layer.ModelDir, e.Path), e)
		}
	}
	for _, e := range plan.Layers[number] {
		want.require(path.Join(layer.ModelDir, e.Path), e)
	}
	return want.check(ctx, l, maxArchive(plan, number))
}

// checkManifestLayer checks that the last layer holds the manifest of the model's
// files, which was compared before, the link for KServe if linked, and nothing else.
func checkManifestLayer(ctx context.Context, l v1.Layer, diffID string, linked bool) error {
	want := newContent(diffID, nil)
	want.allow(layer.ModelDir, layer.Entry{Type: layer.Dir, Mode: layer.ModeExecutable})
	want.require(layer.ManifestDir, layer.Entry{Type: layer.Dir, Mode: layer.ModeExecutable})
	want.require(layer.ManifestFile, layer.Entry{Type: layer.File, Mode: layer.ModeReadable, Size: anySize})
	if linked {
		want.require(layer.KServeDir, layer.Entry{Type: layer.Symlink, Link: layer.ModelDir})
	}
	return want.check(ctx, l, modelimage.MaxManifestSize)
}

// inspectBase reports whether a base image, which is nil for scratch, has something
// at the place of the link for KServe, which Kaniko then omits. A base image with
// files in the model's directory is invalid: Kaniko refuses it, and its layers would
// not hide them.
func inspectBase(ctx context.Context, base v1.Image) (hasModels bool, err error) {
	if base == nil {
		return false, nil
	}
	flat := mutate.Extract(base)
	defer func() { _ = flat.Close() }()
	for entries := tar.NewReader(flat); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return hasModels, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return false, err
		}
		switch name := layer.CleanName(header.Name); {
		case name == layer.KServeDir || strings.HasPrefix(name, layer.KServeDir+"/"):
			hasModels = true
		case name == layer.ModelDir && header.Typeflag != tar.TypeDir, layer.InModel(name) && name != layer.ModelDir:
			return false, modelimage.Invalid("its base image has files at %s", v1alpha1.ModelPath)
		}
	}
}
