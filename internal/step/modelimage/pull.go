package modelimage

import (
	"context"
	"errors"
	"net"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/modelkiln/modelkiln/internal/registry"
)

// NoVariantError is the error of a base image without an image for any platform that
// a model's image is built for.
type NoVariantError struct {
	// Err is the cause.
	Err error
}

func (e *NoVariantError) Error() string { return "no usable variant: " + e.Err.Error() }

func (e *NoVariantError) Unwrap() error { return e.Err }

// PullBase logs in to the repository of a base image and returns the images there: of
// an index, those for Platforms, or that for the only platform that the index has;
// otherwise the image itself, for the platform in its config. Errors that occur while
// reading the images are explained by the repository.
func PullBase(ctx context.Context, config registry.Config, ref name.Reference) ([]Variant, *registry.Repository, error) {
	repository, descriptor, err := fetch(ctx, config, ref)
	if err != nil {
		return nil, nil, err
	}
	variants, err := baseVariants(descriptor)
	if err != nil {
		return nil, nil, explainVariant(repository, err)
	}
	return variants, repository, nil
}

// PullModel logs in to the repository of a model's image and returns the images
// there, as Variants does.
func PullModel(ctx context.Context, config registry.Config, ref name.Reference) ([]Variant, error) {
	repository, descriptor, err := fetch(ctx, config, ref)
	if err != nil {
		return nil, err
	}
	variants, err := Variants(descriptor)
	if err != nil && isOfRegistry(err) {
		err = repository.Explain(err)
	}
	return variants, err
}

func fetch(ctx context.Context, config registry.Config, ref name.Reference) (*registry.Repository, *remote.Descriptor, error) {
	repository, err := config.Open(ctx, ref.Context(), registry.Pull)
	if err != nil {
		return nil, nil, err
	}
	descriptor, err := repository.Fetch(ctx, ref)
	return repository, descriptor, err
}

// explainVariant returns the registry's error, or else a *NoVariantError.
func explainVariant(repository *registry.Repository, err error) error {
	if isOfRegistry(err) {
		return repository.Explain(err)
	}
	return &NoVariantError{Err: err}
}

// isOfRegistry reports whether an error is one of reading from a registry, as opposed
// to one about what was read.
func isOfRegistry(err error) bool {
	var response *transport.Error
	var network net.Error
	var explained *registry.Error
	return errors.As(err, &response) || errors.As(err, &network) || errors.As(err, &explained) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// baseVariants returns the images of a base image's manifest.
func baseVariants(descriptor *remote.Descriptor) ([]Variant, error) {
	if descriptor.MediaType.IsIndex() {
		if err := checkDocument("index", descriptor.Manifest); err != nil {
			return nil, err
		}
		index, err := descriptor.ImageIndex()
		if err != nil {
			return nil, err
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		chosen, err := choose(manifest.Manifests)
		if err != nil {
			return nil, err
		}
		return open(index, chosen)
	}
	image, err := descriptor.Image()
	if err != nil {
		return nil, err
	}
	if err := checkImage(image); err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return []Variant{{Platform: v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}, Image: image}}, nil
}
