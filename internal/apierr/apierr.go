// Package apierr classifies errors of the API server.
package apierr

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// IsRejected reports whether the API server rejects an object for what it is: the
// object is invalid, or a policy, a quota or missing permissions forbid it. The
// same request fails until someone acts.
//
// An object in a namespace that is being deleted is not rejected in this sense,
// although the API server responds with Forbidden: there is nothing to fix.
func IsRejected(err error) bool {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return false
	}
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}
