package modelimage

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// Existing returns the images of a manifest that any program may have pushed: the image
// itself or, of an index, those for Platforms, or that for the only platform that the
// index has. The error is an *InvalidError, or the registry's.
func Existing(descriptor *remote.Descriptor) ([]Variant, error) {
	if !descriptor.MediaType.IsImage() && !descriptor.MediaType.IsIndex() {
		return nil, errNoImage
	}
	images, err := baseVariants(descriptor)
	var invalid *InvalidError
	switch {
	case err == nil:
		return images, checkFileSystems(images)
	case errors.As(err, &invalid), isOfRegistry(err):
		return nil, err
	default:
		return nil, Invalid("%v", err)
	}
}

// checkFileSystems checks that images are not artifacts in the form of an image, whose
// layers are no file system.
func checkFileSystems(images []Variant) error {
	for _, variant := range images {
		manifest, err := variant.Image.Manifest()
		if err != nil {
			return err
		}
		if !manifest.Config.MediaType.IsConfig() {
			return Invalid("it is an artifact of the type %.80q", manifest.Config.MediaType)
		}
		config, err := variant.Image.ConfigFile()
		if err != nil {
			return err
		}
		if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
			return Invalid("it has %d layers in its manifest and %d in its config", len(manifest.Layers), len(config.RootFS.DiffIDs))
		}
	}
	return nil
}

// errRead ends the reading of a layer that has shown enough.
var errRead = errors.New("enough was read")

// HasManifest reports whether the first file of an image's last layer is the manifest of
// a model's files, as in the images of all builds. No more of the layer is read. The
// error is the registry's.
func HasManifest(image v1.Image) (found bool, err error) {
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		return false, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return false, err
	}
	last := len(layers) - 1
	err = ReadLayer(layers[last], DiffIDs(config)[last], MaxManifestSize, func(header *tar.Header, _ io.Reader) error {
		if header.Typeflag == tar.TypeDir {
			return nil
		}
		found = layer.CleanName(header.Name) == layer.ManifestFile
		return errRead
	})
	var invalid *InvalidError
	if errors.Is(err, errRead) || errors.As(err, &invalid) {
		err = nil
	}
	return found, err
}

// HasFiles reports whether an image has a file in a directory, which is relative to the
// image's root. It reads the layers from the top one until it finds a file, so that only
// an image without one is read as a whole. Its memory use grows with the number of files
// that it reads. The error is an *InvalidError, or the registry's.
func HasFiles(ctx context.Context, image v1.Image, dir string) (found bool, err error) {
	err = visitFiles(ctx, image, func(header *tar.Header) bool {
		name := layer.CleanName(header.Name)
		found = name != dir && layer.Contains(dir, name) && header.Typeflag != tar.TypeDir
		return !found
	})
	if err != nil && !isOfRegistry(err) {
		err = Invalid("a layer cannot be read: %v", err)
	}
	return found, err
}
