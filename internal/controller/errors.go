package controller

import (
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/apierr"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// conflictRequeueDelay is when a pass that met a conflict is repeated. By then
// the cache has the write that it conflicted with.
const conflictRequeueDelay = 200 * time.Millisecond

// resultFor returns the result of a pass that ended with an error. Some errors
// are expected and need no action: the object or its namespace is being deleted,
// or another client wrote first.
func resultFor(err error) (ctrl.Result, error) {
	switch {
	case isGone(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictRequeueDelay}, nil
	default:
		return ctrl.Result{}, err
	}
}

// isGone reports whether the ModelVersion, the Model or the namespace of a pass no
// longer exists. Anything else that is not found is an error, such as Argo's
// CRDs.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && isAbout(err, "modelversions", "models", "namespaces")
}

// isInTheWay reports whether storage with the name that a ModelVersion's storage
// needs exists, and belongs to something else or is being deleted.
func isInTheWay(err error) bool {
	return apierrors.IsAlreadyExists(err) && isAbout(err, "persistentvolumeclaims", "persistentvolumes")
}

// isAbout reports whether an error of the API server is about an object of one of
// these resources.
func isAbout(err error, resources ...string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.Contains(resources, status.Status().Details.Kind)
}

// isArgoGone reports whether the API server no longer serves Argo's kinds.
func isArgoGone(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && !isGone(err)
}

// statusFor returns the status that reports an error to users, for errors that
// last until a user acts: the API server rejects something, or no longer
// serves Argo's kinds. It returns false for any other error.
func statusFor(mv *v1alpha1.ModelVersion, err error) (v1alpha1.ModelVersionStatus, bool) {
	switch {
	case isArgoGone(err):
		return lifecycle.ArgoMissing(mv), true
	case apierr.IsRejected(err), isInTheWay(err):
		return lifecycle.Rejected(mv, err.Error()), true
	default:
		return v1alpha1.ModelVersionStatus{}, false
	}
}
