package failure

import (
	"cmp"
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

// reasons are the reasons for kinds of errors of a registry. The others are
// RegistryUnreachable.
var reasons = map[registry.Kind]string{
	registry.Unauthorized:      v1alpha1.ReasonRegistryUnauthorized,
	registry.Untrusted:         v1alpha1.ReasonRegistryUntrusted,
	registry.QuotaExceeded:     v1alpha1.ReasonRegistryFull,
	registry.RepositoryMissing: v1alpha1.ReasonRepositoryMissing,
	registry.TagImmutable:      v1alpha1.ReasonTagTaken,
	registry.PolicyDenied:      v1alpha1.ReasonHeldByPolicy,
	registry.Unsupported:       v1alpha1.ReasonMediaTypeUnsupported,
	registry.RateLimited:       v1alpha1.ReasonRateLimited,
}

// ReasonOf returns the reason for a kind of error of a registry.
func ReasonOf(kind registry.Kind) string {
	return cmp.Or(reasons[kind], v1alpha1.ReasonRegistryUnreachable)
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
