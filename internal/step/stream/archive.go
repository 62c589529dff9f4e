package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// opaque is the entry by which a layer says that nothing of the same folder in
// the layers below is there any more: a base image may have a model of its own.
var opaque = layer.Entry{Path: layer.Whiteout + layer.Whiteout + ".opq", Type: layer.File, Mode: layer.ModeReadable}

// archiveOf is a layer of a plan as Stream sends it.
func archiveOf(root *os.Root, plan layer.Plan, number int) (source.Archive, error) {
	entries := plan.Layers[number]
	if number == 0 {
		top := slices.IndexFunc(entries, func(e layer.Entry) bool { return e.Path == layer.TopFolder })
		entries = slices.Concat([]layer.Entry{entries[top], opaque}, entries[:top], entries[top+1:])
	}
	layout, err := layer.NewArchive(strings.TrimPrefix(v1alpha1.ModelPath, "/"), entries)
	if err != nil {
		return source.Archive{}, err
	}
	return source.Archive{Root: root, Layout: layout}, nil
}

// diffID is the digest of an archive, for which all of it is read.
func diffID(ctx context.Context, archive source.Archive, read io.Writer) (string, error) {
	content := archive.Open(ctx, 0)
	defer func() { _ = content.Close() }()
	digest := sha256.New()
	const bufferSize = 256 << 10
	if _, err := io.CopyBuffer(io.MultiWriter(digest, read), onlyReader{content}, make([]byte, bufferSize)); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil)), nil
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }

// changedLayer says in words which layer of an image is not what the source
// holds now, or "".
func changedLayer(ctx context.Context, root *os.Root, plan layer.Plan, held layer.Manifest) (string, error) {
	// It may have been spread over layers within other limits.
	plan, known := held.Spread(plan)
	if !known {
		return "its layers are others", nil
	}
	for number := range plan.Layers {
		archive, err := archiveOf(root, plan, number)
		if err != nil {
			return "", err
		}
		now, err := diffID(ctx, archive, io.Discard)
		if err != nil {
			return "", err
		}
		if now != held.Layers[number].DiffID {
			return fmt.Sprintf("%s is another", namesOf(plan.Layers[number])), nil
		}
	}
	return "", nil
}

// namesOf names the files of a layer.
func namesOf(entries []layer.Entry) string {
	var first string
	files := 0
	for _, e := range entries {
		if e.Type != layer.File {
			continue
		}
		if files++; files == 1 {
			first = e.Path
		}
	}
	if files == 1 {
		return fmt.Sprintf("%q", first)
	}
	return fmt.Sprintf("%q, or one of the %d small files beside it,", first, files-1)
}
