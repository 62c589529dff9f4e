package modelimage

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/registry"
)

// NoVariantError is the error of an index without an image for this node.
type NoVariantError struct {
	// Err is the error of the registry library.
	Err error
}

func (e *NoVariantError) Error() string { return "no variant for this node: " + e.Err.Error() }

func (e *NoVariantError) Unwrap() error { return e.Err }

// Pull logs in to the repository of ref and returns the image there, in the
// variant for this node if ref is an index, or a *NoVariantError. Errors that
// occur while reading the image are explained by the repository.
func Pull(ctx context.Context, config registry.Config, ref name.Reference) (v1.Image, *registry.Repository, error) {
	repository, err := config.Open(ctx, ref.Context(), registry.Pull)
	if err != nil {
		return nil, nil, err
	}
	descriptor, err := repository.Fetch(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	image, err := repository.Image(descriptor)
	var e *registry.Error
	if err != nil && !errors.As(err, &e) {
		return nil, nil, &NoVariantError{Err: err}
	}
	if err != nil {
		return nil, nil, err
	}
	return image, repository, nil
}
