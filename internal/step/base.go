package step

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// foundBase is a base image whose variants are pinned by digest, so that the build uses
// the images that are checked here.
type foundBase struct {
	handoff.BaseImage
	// images are the images of the variants; those of scratch are nil.
	images     []modelimage.Variant
	repository *registry.Repository
}

// findBase finds the base image. One that does not exist fails before the model is
// copied.
func findBase(ctx context.Context, config registry.Config, image string) (foundBase, error) {
	if image == handoff.Scratch {
		return scratch(), nil
	}
	ref, err := config.Reference(image)
	if err != nil {
		return foundBase{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image in spec.build.baseImage is not valid: %v", err)
	}
	found := foundBase{BaseImage: handoff.BaseImage{Name: image, Host: ref.Context().RegistryStr()}}
	if found.images, found.repository, err = modelimage.PullBase(ctx, config, ref); err != nil {
		return foundBase{}, baseNotFound(image, err)
	}
	for _, variant := range found.images {
		described, err := describeVariant(image, ref.Context(), variant)
		if err != nil {
			return foundBase{}, failure.OfContent(found.repository, err)
		}
		found.Variants = append(found.Variants, described)
	}
	return found, nil
}

// scratch returns the empty base image, which is for every platform.
func scratch() foundBase {
	found := foundBase{BaseImage: handoff.BaseImage{Name: handoff.Scratch}}
	for _, platform := range modelimage.Platforms() {
		found.Variants = append(found.Variants, handoff.BaseVariant{Platform: platform, Reference: handoff.Scratch})
		found.images = append(found.images, modelimage.Variant{Platform: platform})
	}
	return found
}

// describeVariant checks and describes the base image for one platform.
func describeVariant(image string, repository name.Repository, variant modelimage.Variant) (handoff.BaseVariant, error) {
	digest, err := variant.Image.Digest()
	if err != nil {
		return handoff.BaseVariant{}, err
	}
	config, err := variant.Image.ConfigFile()
	if err != nil {
		return handoff.BaseVariant{}, err
	}
	if len(config.Config.OnBuild) > 0 {
		// They would run as root, with access to the model and the credentials.
		return handoff.BaseVariant{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has ONBUILD instructions, which are not supported: choose a base image without them in spec.build.baseImage", image)
	}
	manifest, err := variant.Image.Manifest()
	if err != nil {
		return handoff.BaseVariant{}, err
	}
	diffIDs := modelimage.DiffIDs(config)
	if len(manifest.Layers) != len(diffIDs) {
		return handoff.BaseVariant{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s is damaged: it has %d layers in its manifest and %d in its config: choose another one in spec.build.baseImage", image, len(manifest.Layers), len(diffIDs))
	}
	if layers := len(diffIDs); layer.Budget(layers) < 1 {
		return handoff.BaseVariant{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has %d layers, and an image can have %d, so that none are left for the model: choose a base image with fewer layers in spec.build.baseImage", image, layers, layer.MaxImageLayers)
	}
	return handoff.BaseVariant{
		Platform: variant.Platform, Reference: repository.Digest(digest.String()).Name(), Digest: digest.String(),
		User: config.Config.User, DiffIDs: diffIDs,
	}, nil
}

// inspect returns what the variants hold that matters for a model in modelDir. The error
// is a *failure.Error.
func (b foundBase) inspect(ctx context.Context, modelDir string) (all modelimage.BaseContent, err error) {
	for _, variant := range b.images {
		content, err := modelimage.InspectBase(ctx, variant.Image, modelDir)
		if err != nil {
			return all, failure.OfContent(b.repository, err)
		}
		if content.NoDir != "" {
			return all, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has a file or a link at /%s, above the directory of the model: choose another directory in spec.build.modelPath", b.Name, content.NoDir)
		}
		all.HasKServeDir = all.HasKServeDir || content.HasKServeDir
		all.HasModel = all.HasModel || content.HasModel
	}
	return all, nil
}

// size returns the size in bytes of the variants' layers, which are compressed.
func (b foundBase) size() (size int64, err error) {
	for _, variant := range b.images {
		if variant.Image == nil {
			continue
		}
		var manifest *v1.Manifest
		if manifest, err = variant.Image.Manifest(); err != nil {
			return 0, failure.OfContent(b.repository, err)
		}
		for _, blob := range manifest.Layers {
			size += blob.Size
		}
	}
	return size, nil
}

// baseNotFound returns the failure of a base image that could not be pulled.
func baseNotFound(image string, err error) error {
	if registry.IsNotFound(err) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the base image %s does not exist in its registry: correct it in spec.build.baseImage", image).WithCause(err)
	}
	var noVariant *modelimage.NoVariantError
	if errors.As(err, &noVariant) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the base image %s has no variant that a model's image can be built on, such as linux/amd64 or linux/arm64: choose one that has in spec.build.baseImage (%v)", image, noVariant.Err)
	}
	return failure.OfRegistry(err)
}
