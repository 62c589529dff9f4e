package lifecycle

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A VersionState is the state of a ModelVersion that metrics count.
type VersionState string

const (
	// VersionWaiting means that nothing runs yet: the ModelVersion waits for its
	// Model, the template, Argo, a lock, a node or the operator.
	VersionWaiting VersionState = "waiting"
	// VersionBuilding means that a build runs.
	VersionBuilding VersionState = "building"
	// VersionFailed means that nothing happens until a user acts.
	VersionFailed VersionState = "failed"
	// VersionReady means that the image is in the registry.
	VersionReady VersionState = "ready"
)

// VersionStates are all states.
var VersionStates = []VersionState{VersionWaiting, VersionBuilding, VersionFailed, VersionReady}

// StateOfVersion returns the state of a ModelVersion by its conditions. One that
// KubeDL finished has none, and its phase counts.
func StateOfVersion(mv *v1alpha1.ModelVersion) VersionState {
	conditions, phase := mv.Status.Conditions, mv.Status.ImageBuildPhase
	kubedl := len(conditions) == 0
	switch {
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady), kubedl && phase == v1alpha1.ImageBuildSucceeded:
		return VersionReady
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled), kubedl && phase == v1alpha1.ImageBuildFailed:
		return VersionFailed
	case ReadyReason(mv) == v1alpha1.ReasonWorkflowRunning, ReadyReason(mv) == v1alpha1.ReasonRetrying:
		return VersionBuilding
	default:
		return VersionWaiting
	}
}

// A Completion is how an attempt ended.
type Completion struct {
	// Succeeded is true if the image is in the registry.
	Succeeded bool
	// Reason is the reason of the Ready condition.
	Reason string
	// Seconds is how long the attempt took. It is nil when its Workflow was
	// deleted, or terminated since its pod did not start.
	Seconds *float64
	// Bytes is the size of the files that were packaged.
	Bytes int64
	// SentBytes and ReusedBytes are the sizes of the model's layers that were sent to the
	// registry, and that it had already.
	SentBytes, ReusedBytes int64

	workflowUID string
}

// Completed returns the attempt that has ended by one status of a ModelVersion
// and had not ended by the status before, or nil. Only the two statuses count,
// so that an end is counted once, however often the function is called. A retry
// is an attempt of its own. An attempt that the same status replaces by the next
// one is never counted.
func Completed(before, after v1alpha1.ModelVersionStatus) *Completion {
	if !hasEnded(after) || hasEnded(before) && sameAttempt(before, after) {
		return nil
	}
	completion := &Completion{
		Succeeded:   after.ImageBuildPhase == v1alpha1.ImageBuildSucceeded,
		Bytes:       after.SizeBytes,
		SentBytes:   after.SentBytes,
		ReusedBytes: after.ReusedBytes,
		workflowUID: after.Workflow.UID,
	}
	if ready := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady); ready != nil {
		completion.Reason = ready.Reason
	}
	if after.StartTime != nil && after.FinishTime != nil {
		// The times can be from two clocks, the API server's and Argo's.
		seconds := max(0, after.FinishTime.Sub(after.StartTime.Time).Seconds())
		completion.Seconds = &seconds
	}
	return completion
}

func hasEnded(status v1alpha1.ModelVersionStatus) bool {
	phase := status.ImageBuildPhase
	return status.Workflow != nil && (phase == v1alpha1.ImageBuildSucceeded || phase == v1alpha1.ImageBuildFailed)
}

// sameAttempt reports whether no retry happened between two statuses. A Workflow that
// the operator terminated because of its pod may still be seen to start.
func sameAttempt(before, after v1alpha1.ModelVersionStatus) bool {
	retried := before.FinishTime != nil && !before.StartTime.Equal(after.StartTime)
	return before.Workflow.UID == after.Workflow.UID && !retried
}

// StepSeconds returns how long the steps of a completed attempt took, by name.
// The attempt's Workflow is among these, unless it was deleted. Argo starts the
// containers of a pod together, and each waits for the one before it: a step
// begins when that one has ended, and the first one with the pod. What follows a
// step that failed did not run.
func StepSeconds(completion Completion, workflows []*wfv1.Workflow) map[string]float64 {
	seconds := map[string]float64{}
	for _, wf := range workflows {
		if string(wf.UID) != completion.workflowUID {
			continue
		}
		completed, begin := runOf(wf), startTime(wf)
		for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
			node := completed.stepNode(step)
			if node == nil || node.FinishedAt.IsZero() {
				break
			}
			if begin.Before(&node.StartedAt) {
				begin = node.StartedAt
			}
			if node.FinishedAt.Before(&begin) {
				break // An earlier run left it.
			}
			seconds[step] = node.FinishedAt.Sub(begin.Time).Seconds()
			if node.Phase != wfv1.NodeSucceeded {
				break
			}
			begin = node.FinishedAt
		}
	}
	return seconds
}
