package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/modelkiln/modelkiln/internal/layer"
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

// diffIDOf reads an archive and returns its digest.
func diffIDOf(ctx context.Context, archive source.Archive) (string, error) {
	content := archive.Open(ctx, 0)
	defer func() { _ = content.Close() }()
	digest := sha256.New()
	if _, err := io.CopyBuffer(digest, readerOnly{content}, make([]byte, engine.CopyBufferSize)); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil)), nil
}

// readerOnly hides the other methods of a reader, so that io.CopyBuffer uses its
// buffer.
type readerOnly struct{ io.Reader }

// ChangedLayer describes a layer of an image whose content is no longer that of
// the model's files, or returns "". built are the layers of the image, and plan
// assigns the files to them. A layer that isKnown reports as unchanged is not read.
func ChangedLayer(ctx context.Context, files source.Files, plan layer.Plan, built []layer.BuiltLayer, isKnown func(number int) bool) (string, error) {
	for number := range plan.Layers {
		if isKnown(number) {
			continue
		}
		archive, err := newArchive(files, plan, number)
		if err != nil {
			return "", err
		}
		diffID, err := diffIDOf(ctx, archive)
		if err != nil {
			return "", err
		}
		if diffID != built[number].DiffID {
			return describeFiles(plan.Layers[number]) + " was changed", nil
		}
	}
	return "", nil
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
