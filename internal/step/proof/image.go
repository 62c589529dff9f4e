// Package proof decides whether an image that is already in a registry is the one
// that a build of a model would push. What an image says about itself, in its labels
// and its manifest of files, proves nothing, since anyone who can push to
// the repository can write both. So the image has to consist of the layers of the base
// image, of the model and of the manifest, and of nothing else, and all of it is
// compared with the base image and with the files.
package proof

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Image is an image for one platform in a registry as it describes itself.
type Image struct {
	image    v1.Image
	manifest *v1.Manifest
	config   *v1.ConfigFile
	// diffIDs are the digests of the archives of its layers.
	diffIDs []string
	// Files is the manifest of its model.
	Files layer.Manifest
}

// openImage reads how an image describes itself. It may have the last layer of another
// one, which is then not read again. An image without a manifest of the model's files, or
// whose layers are others than that names, is a *modelimage.InvalidError.
func openImage(image v1.Image, other *Image) (Image, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return Image{}, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return Image{}, err
	}
	i := Image{image: image, manifest: manifest, config: config, diffIDs: modelimage.DiffIDs(config)}
	if len(manifest.Layers) != len(i.diffIDs) || len(i.diffIDs) > layer.MaxImageLayers {
		return Image{}, modelimage.Invalid("it has %d layers in its manifest and %d in its config", len(manifest.Layers), len(i.diffIDs))
	}
	if other != nil && i.hasLastLayerOf(*other) {
		i.Files = other.Files
	} else if i.Files, err = modelimage.ReadManifest(image); err != nil {
		return Image{}, err
	}
	return i, i.checkLayers()
}

func (i Image) hasLastLayerOf(other Image) bool {
	last, otherLast := len(i.diffIDs)-1, len(other.diffIDs)-1
	return last >= 0 && i.diffIDs[last] == other.diffIDs[otherLast] && i.manifest.Layers[last].Digest == other.manifest.Layers[otherLast].Digest
}

// checkLayers checks that the layers below the last one are those that the
// manifest of the model's files names.
func (i Image) checkLayers() error {
	if len(i.Files.Layers) == 0 || len(i.Files.Layers) >= len(i.diffIDs) {
		return modelimage.Invalid("the manifest of its files lists %d layers, and the image has %d", len(i.Files.Layers), len(i.diffIDs))
	}
	for number, built := range i.Files.Layers {
		if got := i.diffIDs[i.baseLayers()+number]; got != built.DiffID {
			return modelimage.Invalid("a layer is not one of the model's: %s", got)
		}
	}
	return nil
}

// baseLayers returns how many layers are below the model's.
func (i Image) baseLayers() int { return len(i.diffIDs) - len(i.Files.Layers) - 1 }

// BaseDiffIDs returns the digests of the archives of the layers below the model's.
func (i Image) BaseDiffIDs() []string { return i.diffIDs[:i.baseLayers()] }

// Source is what an image is compared with.
type Source struct {
	// Files are the model's files, and Model is the plan of them.
	Files source.Files
	Model layer.Plan
	// Bases are the variants of the base image.
	Bases []Base
	// FreeLabels are labels that can have any value, or be absent.
	FreeLabels []string
	// HasKServeDir and HasModel are what the variants of the base image hold: see
	// modelimage.BaseContent.
	HasKServeDir, HasModel bool
}

// Base is the base image for one platform.
type Base struct {
	// Platform is that of the base image, and Image the base image; nil for scratch.
	modelimage.Variant
	// Labels are the labels that a build adds on this base image.
	Labels map[string]string
}
