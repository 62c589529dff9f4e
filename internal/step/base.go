package step

import (
	"context"
	"errors"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// baseImage is the image that the model is put on.
type baseImage struct {
	// Name is the reference as it was asked for, or kaniko.Scratch.
	Name string `json:"name"`
	// Host is the registry that it comes from; empty for kaniko.Scratch.
	Host string `json:"host,omitempty"`
	// Reference is the reference by digest of the variant for this node, or
	// kaniko.Scratch.
	Reference string `json:"reference"`
	// Digest is the digest of that variant, "sha256:…".
	Digest string `json:"digest,omitempty"`
	// User is the user of the image's config; empty is root.
	User string `json:"user,omitempty"`
	// Layers is the number of its layers.
	Layers int `json:"layers"`
}

// findBase asks for the base image once and pins it by digest, so that what is
// checked here is what is built on, and a base image that is not there is
// found before the model is copied.
func findBase(ctx context.Context, config registry.Config, image string) (baseImage, error) {
	if image == kaniko.Scratch {
		return baseImage{Name: image, Reference: image}, nil
	}
	ref, err := config.Reference(image)
	if err != nil {
		return baseImage{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image in spec.build.baseImage cannot be used: %v", err)
	}
	repository, err := config.Open(ctx, ref.Context(), registry.Pull)
	if err != nil {
		return baseImage{}, ofRegistry(err)
	}
	descriptor, err := repository.Fetch(ctx, ref)
	if registry.IsNotFound(err) {
		return baseImage{}, failure.New(v1alpha1.ReasonBuildFailed, "the base image %s does not exist in its registry: correct it in spec.build.baseImage", image).Because(err)
	}
	if err != nil {
		return baseImage{}, ofRegistry(err)
	}
	variant, err := repository.Image(descriptor)
	if err != nil {
		return baseImage{}, noVariant(image, err)
	}
	digest, err := variant.Digest()
	if err != nil {
		return baseImage{}, ofRegistry(repository.Explain(err))
	}
	imageConfig, err := variant.ConfigFile()
	if err != nil {
		return baseImage{}, ofRegistry(repository.Explain(err))
	}
	if len(imageConfig.Config.OnBuild) > 0 {
		// They would run as root, next to the model and the credentials.
		return baseImage{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has ONBUILD instructions, which are never run: name one without in spec.build.baseImage", image)
	}
	manifest, err := variant.Manifest()
	if err != nil {
		return baseImage{}, ofRegistry(repository.Explain(err))
	}
	layers := len(manifest.Layers)
	if layer.Budget(layers) < 1 {
		return baseImage{}, failure.New(v1alpha1.ReasonInvalidSpec, "the base image %s has %d layers and leaves none of an image's %d for the model: name one with fewer in spec.build.baseImage", image, layers, layer.MaxImageLayers)
	}
	return baseImage{
		Name: image, Host: ref.Context().RegistryStr(),
		Reference: ref.Context().Digest(digest.String()).Name(), Digest: digest.String(),
		User: imageConfig.Config.User, Layers: layers,
	}, nil
}

// noVariant says why an image's variant for this node was not fetched.
func noVariant(image string, err error) error {
	var e *registry.Error
	if errors.As(err, &e) {
		return ofRegistry(err)
	}
	return failure.New(v1alpha1.ReasonBuildFailed, "the base image %s has no variant for this node: name one that has in spec.build.baseImage (%v)", image, err)
}
