package failure

import (
	"errors"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
)

// OfRegistry returns an error of a registry as a failure, and any other error
// unchanged. Callers that expect a missing tag or blob check for
// registry.IsNotFound first.
func OfRegistry(err error) error {
	var e *registry.Error
	if !errors.As(err, &e) {
		return err
	}
	reason := v1alpha1.ReasonRegistryUnreachable
	switch e.Kind {
	case registry.Unauthorized:
		reason = v1alpha1.ReasonRegistryUnauthorized
	case registry.Untrusted:
		reason = v1alpha1.ReasonRegistryUntrusted
	case registry.QuotaExceeded:
		reason = v1alpha1.ReasonRegistryFull
	case registry.Unreachable, registry.NotFound:
	}
	f := New(reason, "%s", e.Message).WithCause(e.Cause)
	f.Transient = e.Transient
	return f
}

// OfContent returns an error that occurred while reading the content of an image
// in repository as a failure.
func OfContent(repository *registry.Repository, err error) error {
	var f *Error
	if errors.As(err, &f) {
		return f
	}
	return OfRegistry(repository.Explain(err))
}
