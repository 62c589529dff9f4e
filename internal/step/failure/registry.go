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
	f := New(ReasonOf(e.Kind), "%s", e.Message).WithCause(e.Cause)
	f.Transient = e.Transient
	return f
}

// ReasonOf returns the reason for a kind of error of a registry.
func ReasonOf(kind registry.Kind) string {
	switch kind {
	case registry.Unauthorized:
		return v1alpha1.ReasonRegistryUnauthorized
	case registry.Untrusted:
		return v1alpha1.ReasonRegistryUntrusted
	case registry.QuotaExceeded:
		return v1alpha1.ReasonRegistryFull
	case registry.RepositoryMissing:
		return v1alpha1.ReasonRepositoryMissing
	case registry.TagImmutable:
		return v1alpha1.ReasonTagTaken
	case registry.PolicyDenied:
		return v1alpha1.ReasonHeldByPolicy
	case registry.Unsupported:
		return v1alpha1.ReasonMediaTypeUnsupported
	case registry.RateLimited:
		return v1alpha1.ReasonRateLimited
	case registry.Unreachable, registry.NotFound:
	}
	return v1alpha1.ReasonRegistryUnreachable
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
