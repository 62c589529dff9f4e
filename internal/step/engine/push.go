package engine

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// Push pushes the image of layers that are in the registry: for each variant of the
// base image the layer with the manifest of the model, the config and the image's own
// manifest, and last the tag, so that no one sees an incomplete image. If there are
// several variants, the tag refers to an index of them. compression is that of the layer
// with the manifest. It returns what the tag refers to, and the SHA-256 of the model's
// manifest.
func (in Input) Push(ctx context.Context, repository *registry.Repository, manifest layer.Manifest, layers []modelimage.Layer, compression Compression) (pushed v1.Descriptor, manifestSHA256 string, err error) {
	links := layer.Links(in.Model.ModelDir(), in.Base.HasKServeDir)
	archive, manifestSHA256, err := modelimage.NewManifestArchive(manifest, links)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	manifestLayer, err := compression.layer(archive)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	parts := modelimage.Parts{Layers: layers, Manifest: manifestLayer, Created: in.Lineage.Created}
	images, err := in.assemble(ctx, parts)
	if err != nil {
		return v1.Descriptor{}, "", failure.OfContent(repository, err)
	}
	if pushed, err = in.pushImages(ctx, repository, images); err != nil {
		return v1.Descriptor{}, "", failure.OfContent(repository, err)
	}
	return pushed, manifestSHA256, nil
}

// assemble returns the images for the variants of the base image.
func (in Input) assemble(ctx context.Context, parts modelimage.Parts) ([]modelimage.Variant, error) {
	bases, err := in.pullBase(ctx)
	if err != nil {
		return nil, err
	}
	images := make([]modelimage.Variant, 0, len(bases))
	for number, base := range bases {
		image, err := modelimage.Assemble(base, parts, in.Lineage.Labels(in.Base.Variants[number]))
		if err != nil {
			return nil, err
		}
		images = append(images, modelimage.Variant{Platform: base.Platform, Image: image})
	}
	return images, nil
}

// pushImages pushes the only image, or the index of several.
func (in Input) pushImages(ctx context.Context, repository *registry.Repository, images []modelimage.Variant) (v1.Descriptor, error) {
	if len(images) == 1 {
		image := images[0].Image
		return in.pushFree(ctx, repository, image, func() error { return repository.Push(ctx, in.Target, image) })
	}
	index := modelimage.NewIndex(images, in.Lineage.CreatedLabel())
	return in.pushFree(ctx, repository, index, func() error { return repository.PushIndex(ctx, in.Target, index) })
}

// pushFree pushes a manifest if the tag is still free.
func (in Input) pushFree(ctx context.Context, repository *registry.Repository, manifest partial.Describable, push func() error) (v1.Descriptor, error) {
	pushed, err := partial.Descriptor(manifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := in.checkFree(ctx, repository, pushed.Digest); err != nil {
		return v1.Descriptor{}, err
	}
	return *pushed, failure.OfRegistry(push())
}

// checkFree returns a failure if someone has pushed another image to the tag since
// mount-check found it free: a build can take hours. An earlier try of this build may
// have pushed the same one.
func (in Input) checkFree(ctx context.Context, repository *registry.Repository, digest v1.Hash) error {
	found, err := repository.Fetch(ctx, in.Target)
	switch {
	case registry.IsNotFound(err), registry.IsUnauthorized(err):
		// Some registries deny access to a tag that does not exist.
		return nil
	case err != nil && !registry.IsPolicyDenied(err):
		return failure.OfRegistry(err)
	case err == nil && found.Digest == digest:
		return nil
	default:
		return failure.New(v1alpha1.ReasonTagTaken, "someone pushed another image to the tag %s during the build; tags are never overwritten: choose another imageTag or, if nobody needs that image, delete it with crane delete %s", in.Target.TagStr(), in.Target)
	}
}

// pullBase returns the variants of the base image. Those of the empty one have no
// image.
func (in Input) pullBase(ctx context.Context) ([]modelimage.Variant, error) {
	variants := make([]modelimage.Variant, 0, len(in.Base.Variants))
	for _, base := range in.Base.Variants {
		variant := modelimage.Variant{Platform: base.Platform}
		if !in.Base.IsScratch() {
			ref, err := in.Registry.Reference(base.Reference)
			if err != nil {
				return nil, err
			}
			images, _, err := modelimage.PullBase(ctx, in.Registry, ref)
			if err != nil {
				return nil, failure.OfRegistry(err)
			}
			variant.Image = images[0].Image
		}
		variants = append(variants, variant)
	}
	return variants, nil
}
