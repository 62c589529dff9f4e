package stream

import (
	"context"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// opaqueWhiteout hides whatever the base image holds in the model's directory,
// such as another model.
var opaqueWhiteout = layer.Entry{Path: layer.OpaqueWhiteout, Type: layer.File, Mode: layer.ModeReadable}

// newArchive returns a layer of a plan as Stream sends it.
func newArchive(files source.Files, plan layer.Plan, number int) (source.Archive, error) {
	entries := plan.Layers[number]
	if number == 0 {
		top := slices.IndexFunc(entries, func(e layer.Entry) bool { return e.Path == layer.RootDir })
		entries = slices.Concat([]layer.Entry{entries[top], opaqueWhiteout}, entries[:top], entries[top+1:])
	}
	layout, err := layer.NewArchive(plan.ModelDir(), entries)
	if err != nil {
		return source.Archive{}, err
	}
	return source.Archive{Files: files, Layout: layout}, nil
}

// sentArchive is an archive whose files are hashed while it is sent.
type sentArchive struct {
	source.Archive
	// digests are the SHA-256 of the files by path, once the archive was sent.
	digests map[string]string
}

var _ registry.HashedBlob = (*sentArchive)(nil)

func (a *sentArchive) NewHash() hash.Cloner { return a.Layout.NewHash() }

func (a *sentArchive) Sent(sum hash.Cloner) {
	if sums, ok := sum.(*layer.ArchiveHash); ok {
		a.digests = sums.Files()
	}
}

// hashOf reads an archive and returns its hash.
func hashOf(ctx context.Context, archive source.Archive) (*layer.ArchiveHash, error) {
	content := archive.Open(ctx, 0)
	defer func() { _ = content.Close() }()
	sums := archive.Layout.NewHash()
	if _, err := io.CopyBuffer(sums, readerOnly{content}, make([]byte, engine.CopyBufferSize)); err != nil {
		return nil, err
	}
	return sums, nil
}

// readerOnly hides the other methods of a reader, so that io.CopyBuffer uses its
// buffer.
type readerOnly struct{ io.Reader }

// ChangedLayer describes a layer of an image whose content is no longer that of
// the model's files, or returns "". built are the layers of the image, and plan
// assigns the files to them. A layer that isKnown reports as unchanged is not read.
// digests are the SHA-256, by path, of the files that were read.
func ChangedLayer(ctx context.Context, files source.Files, plan layer.Plan, built []layer.BuiltLayer, isKnown func(number int) bool) (changed string, digests map[string]string, err error) {
	digests = map[string]string{}
	for number := range plan.Layers {
		if isKnown(number) {
			continue
		}
		archive, err := newArchive(files, plan, number)
		if err != nil {
			return "", nil, err
		}
		sums, err := hashOf(ctx, archive)
		if err != nil {
			return "", nil, err
		}
		if sums.DiffID() != built[number].DiffID {
			return describeFiles(plan.Layers[number]) + " was changed", nil, nil
		}
		maps.Copy(digests, sums.Files())
	}
	return "", digests, nil
}

// describeFiles names the files of a layer.
func describeFiles(entries []layer.Entry) string {
	first := slices.IndexFunc(entries, func(e layer.Entry) bool { return e.Type == layer.File })
	if first < 0 {
		return "a directory or a link"
	}
	files, _ := layer.Count(entries)
	if files == 1 {
		return fmt.Sprintf("%q", entries[first].Path)
	}
	return fmt.Sprintf("%q, or another of the %d files in its layer,", entries[first].Path, files)
}
