package metrics

import (
	"slices"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

const (
	reasonSucceeded = v1alpha1.ReasonSucceeded
	// reasonOther stands for every reason that is not the API's: a template of
	// somebody else's may give any, and each would be a series for ever.
	reasonOther = "Other"
)

// reasons are the API's, all of them. A test compares, and writes them anew
// with -update.
var reasons = []string{
	v1alpha1.ReasonWorkflowPending,
	v1alpha1.ReasonWorkflowRunning,
	v1alpha1.ReasonRetrying,
	v1alpha1.ReasonWorkflowPhaseUnknown,
	v1alpha1.ReasonUnschedulable,
	v1alpha1.ReasonVolumeMountFailed,
	v1alpha1.ReasonImagePullFailed,
	v1alpha1.ReasonPodNotStarted,
	v1alpha1.ReasonModelTerminating,
	v1alpha1.ReasonArgoMissing,
	v1alpha1.ReasonTemplateMissing,
	v1alpha1.ReasonTemplateNotAllowed,
	v1alpha1.ReasonWaitingForTraining,
	v1alpha1.ReasonRefused,
	v1alpha1.ReasonSucceeded,
	v1alpha1.ReasonInvalidSpec,
	v1alpha1.ReasonStorageKindUnsupported,
	v1alpha1.ReasonSourceForbidden,
	v1alpha1.ReasonTrainingKindUnknown,
	v1alpha1.ReasonTrainingFailed,
	v1alpha1.ReasonNodeUnknown,
	v1alpha1.ReasonWorkflowNameConflict,
	v1alpha1.ReasonWorkflowDeleted,
	v1alpha1.ReasonSourceMissing,
	v1alpha1.ReasonSourceNotDirectory,
	v1alpha1.ReasonSourceEmpty,
	v1alpha1.ReasonSourceUnreadable,
	v1alpha1.ReasonSourceUnsafe,
	v1alpha1.ReasonSourceIncomplete,
	v1alpha1.ReasonSourceChanging,
	v1alpha1.ReasonSourceChanged,
	v1alpha1.ReasonPushSecretMissing,
	v1alpha1.ReasonRegistryUnreachable,
	v1alpha1.ReasonRegistryUntrusted,
	v1alpha1.ReasonRegistryFull,
	v1alpha1.ReasonRegistryUnauthorized,
	v1alpha1.ReasonTagTaken,
	v1alpha1.ReasonBuildFailed,
	v1alpha1.ReasonVerificationFailed,
	v1alpha1.ReasonReportInvalid,
	v1alpha1.ReasonOutOfMemory,
	v1alpha1.ReasonEvicted,
	v1alpha1.ReasonPodLost,
	v1alpha1.ReasonPodForbidden,
	v1alpha1.ReasonDeadlineExceeded,
	v1alpha1.ReasonWorkflowStopped,
	v1alpha1.ReasonWorkflowTerminated,
	v1alpha1.ReasonWorkflowFailed,
	v1alpha1.ReasonWorkflowError,
}

// known is the reason, or Other.
func known(reason string) string {
	if slices.Contains(reasons, reason) {
		return reason
	}
	return reasonOther
}
