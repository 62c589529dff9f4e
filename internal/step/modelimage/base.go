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
	err = visitFiles(ctx, base, func(header *tar.Header) bool {
		content.add(header, modelDir)
		return true
	})
	return content, err
}

// visitFiles calls visit with every file that a container of an image sees, those of the
// top layer first, until it returns false.
func visitFiles(ctx context.Context, image v1.Image, visit func(header *tar.Header) bool) error {
	flat := mutate.Extract(image)
	defer func() { _ = flat.Close() }()
	for entries := tar.NewReader(flat); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			// Extract ends the archive in any case, and returns its error after that.
			_, err = io.Copy(io.Discard, flat)
			return err
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if !visit(header) {
			return nil
		}
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
