package modelimage

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// BaseContent is what the files of a base image mean for a model's image.
type BaseContent struct {
	// HasKServeDir is whether there is something at layer.KServeDir, which its
	// program may need, and which is kept.
	HasKServeDir bool
	// HasModel is whether there are files in the model's directory, or something
	// else than a directory at its place.
	HasModel bool
	// NoDir is a path above the model's directory, relative to the image's root, that
	// is not a directory; empty if there is none.
	NoDir string
}

// InspectBase reads the names of all files of a base image, whose Image is nil for
// the empty one. Its memory use grows with the number of files. modelDir is the model's
// directory, relative to the image's root.
func InspectBase(ctx context.Context, base v1.Image, modelDir string) (content BaseContent, err error) {
	if base == nil {
		return content, nil
	}
	flat := mutate.Extract(base)
	defer func() { _ = flat.Close() }()
	for entries := tar.NewReader(flat); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return content, err
		}
		content.add(header, modelDir)
	}
}

func (c *BaseContent) add(header *tar.Header, modelDir string) {
	name := layer.CleanName(header.Name)
	isDir := header.Typeflag == tar.TypeDir
	if layer.Contains(layer.KServeDir, name) {
		c.HasKServeDir = true
	}
	if layer.Contains(modelDir, name) && (name != modelDir || !isDir) {
		c.HasModel = true
	}
	if !isDir && name != layer.RootDir && layer.Contains(name, path.Dir(modelDir)) {
		c.NoDir = name
	}
}
