package step

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// findBase finds the base image and pins it by digest, so that the build uses the
// image that is checked here. An image that does not exist fails before the model
// is copied. The returned image is nil for scratch.
func findBase(ctx context.Context, config registry.Config, image string) (handoff.BaseImage, v1.Image, error) {
	if image == handoff.Scratch {
		return handoff.BaseImage{Name: image, Reference: image}, nil, nil
	}
	ref, err := config.Reference(image)
	if err != nil {
		return handoff.BaseImage{}, nil, failure.New(v1alpha1.ReasonInvalidSpec, "the base image in spec.build.baseImage is not valid: %v", err)
	}
	variant, repository, err := modelimage.Pull(ctx, config, ref)
	if err != nil {
		return handoff.BaseImage{}, nil, baseNotFound(image, err)
	}
	digest, err := variant.Digest()
	if err != nil {
		return handoff.BaseImage{}, nil, failure.OfContent(repository, err)
	}
	imageConfig, err := variant.ConfigFile()
	if err != nil {
		return handoff.BaseImage{}, nil, failure.OfContent(repository, err)
	}
	if len(imageConfig.Config.OnBuild) > 0 {
		// They would run as root, with access to the model and the credentials.
		return handoff.BaseImage{}, nil, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has ONBUILD instructions, which are not supported: choose a base image without them in spec.build.baseImage", image)
	}
	manifest, err := variant.Manifest()
	if err != nil {
		return handoff.BaseImage{}, nil, failure.OfContent(repository, err)
	}
	diffIDs := modelimage.DiffIDs(imageConfig)
	if len(manifest.Layers) != len(diffIDs) {
		return handoff.BaseImage{}, nil, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s is damaged: it has %d layers in its manifest and %d in its config: choose another one in spec.build.baseImage", image, len(manifest.Layers), len(diffIDs))
	}
	if layers := len(diffIDs); layer.Budget(layers) < 1 {
		return handoff.BaseImage{}, nil, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has %d layers, and an image can have %d, so that none are left for the model: choose a base image with fewer layers in spec.build.baseImage", image, layers, layer.MaxImageLayers)
	}
	return handoff.BaseImage{
		Name: image, Host: ref.Context().RegistryStr(),
		Reference: ref.Context().Digest(digest.String()).Name(), Digest: digest.String(),
		User: imageConfig.Config.User, DiffIDs: diffIDs,
	}, variant, nil
}

// baseNotFound returns the failure of a base image that could not be pulled.
func baseNotFound(image string, err error) error {
	if registry.IsNotFound(err) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the base image %s does not exist in its registry: correct it in spec.build.baseImage", image).WithCause(err)
	}
	var noVariant *modelimage.NoVariantError
	if errors.As(err, &noVariant) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the base image %s has no variant for this node: choose one that has in spec.build.baseImage (%v)", image, noVariant.Err)
	}
	return failure.OfRegistry(err)
}
