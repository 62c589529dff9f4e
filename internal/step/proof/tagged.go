package proof

import (
	"context"
	"errors"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// Tagged is what a registry holds of a model: an image, or an index of images for
// several platforms.
type Tagged struct {
	digest   v1.Hash
	variants []modelimage.Variant
	// images are the images of variants.
	images []Image
}

// Open reads how the images of a manifest with a digest describe themselves. An image
// without a manifest of the model's files, or whose layers are others than that names, is
// a *modelimage.InvalidError.
func Open(digest v1.Hash, variants []modelimage.Variant) (Tagged, error) {
	t := Tagged{digest: digest, variants: variants}
	var first *Image
	for _, variant := range variants {
		image, err := openImage(variant.Image, first)
		if err != nil {
			return Tagged{}, err
		}
		if first == nil {
			first = &image
		}
		t.images = append(t.images, image)
	}
	return t, nil
}

// Files returns the manifest of the model, which is that of the image for the first
// platform.
func (t Tagged) Files() layer.Manifest { return t.images[0].Files }

// Layers returns the layers of the model, which are the same for every platform.
func (t Tagged) Layers() []layer.BuiltLayer { return t.images[0].Files.Layers }

// BaseDiffIDs returns, for each platform, the digests of the archives of the layers
// below the model's.
func (t Tagged) BaseDiffIDs() [][]string {
	var diffIDs [][]string
	for _, image := range t.images {
		diffIDs = append(diffIDs, image.BaseDiffIDs())
	}
	return diffIDs
}

// ChangedFiles describes how the model's files differ from what is known to be this
// ModelVersion's, or returns "".
func (t Tagged) ChangedFiles(ctx context.Context, s Source) (string, error) {
	return t.images[0].changedFiles(ctx, s)
}

// Prove compares everything that a tag holds with what a build would push, as prove
// does for one image. A single image, as earlier versions pushed, may be on any variant
// of the base image. An index has an image on each, of the same layers, and nothing
// else.
func (t Tagged) Prove(ctx context.Context, s Source) (changed string, err error) {
	if len(t.images) == 1 {
		return t.images[0].proveOnAny(ctx, s)
	}
	if err := t.checkIndex(s.Bases); err != nil {
		return "", err
	}
	for number, image := range t.images[1:] {
		if err := image.checkBase(s, s.Bases[number+1]); err != nil {
			return "", err
		}
		for _, label := range s.FreeLabels {
			if image.config.Config.Labels[label] != t.images[0].config.Config.Labels[label] {
				return "", modelimage.Invalid("its images have different labels %s", label)
			}
		}
		if !slices.EqualFunc(t.images[0].modelBlobs(), image.modelBlobs(), sameDescriptor) {
			return "", modelimage.Invalid("its images have different layers of the model")
		}
	}
	// The layers of the model are the same, and are compared once.
	return t.images[0].prove(ctx, s, s.Bases[0])
}

// checkIndex checks that the index is the one that a build would push of its images.
func (t Tagged) checkIndex(bases []Base) error {
	if len(t.images) != len(bases) {
		return modelimage.Invalid("it is an index of %d images, and the base image has %d variants", len(t.images), len(bases))
	}
	expected := make([]modelimage.Variant, 0, len(bases))
	for number, base := range bases {
		expected = append(expected, modelimage.Variant{Platform: base.Platform, Image: t.variants[number].Image})
	}
	digest, err := modelimage.NewIndex(expected, t.images[0].config.Config.Labels[modelimage.LabelCreated]).Digest()
	if err != nil {
		return err
	}
	if digest != t.digest {
		return modelimage.Invalid("its index has other content than that of a build")
	}
	return nil
}

// modelBlobs returns the layers above the base image.
func (i Image) modelBlobs() []v1.Descriptor { return i.manifest.Layers[i.baseLayers():] }

func sameDescriptor(a, b v1.Descriptor) bool {
	sameAnnotations := a.Annotations[modelimage.AnnotationStatDigest] == b.Annotations[modelimage.AnnotationStatDigest]
	return a.Digest == b.Digest && a.Size == b.Size && a.MediaType == b.MediaType && sameAnnotations && len(b.URLs) == 0
}

// proveOnAny proves an image on the variant of the base image that it is built on. The
// error is that of the first variant if it is built on none.
func (i Image) proveOnAny(ctx context.Context, s Source) (changed string, err error) {
	var first *modelimage.InvalidError
	for _, base := range s.Bases {
		err := i.checkBase(s, base)
		var invalid *modelimage.InvalidError
		switch {
		case err == nil:
			return i.prove(ctx, s, base)
		case !errors.As(err, &invalid):
			return "", err
		case first == nil:
			first = invalid
		}
	}
	return "", first
}
