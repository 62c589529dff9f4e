package translate

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// VersionState is where a version stands, for counting.
type VersionState string

const (
	// VersionWaiting says that nothing runs yet: the Model, the template, Argo,
	// a lock, a node or the operator itself is waited for.
	VersionWaiting VersionState = "waiting"
	// VersionBuilding says that a build runs.
	VersionBuilding VersionState = "building"
	// VersionFailed says that nothing more happens until a person acts.
	VersionFailed VersionState = "failed"
	// VersionReady says that the image is in the registry.
	VersionReady VersionState = "ready"
)

// VersionStates are all of them.
var VersionStates = []VersionState{VersionWaiting, VersionBuilding, VersionFailed, VersionReady}

// StateOfVersion is where a version stands, by its conditions. One that KubeDL
// ended has none, and its phase says it.
func StateOfVersion(mv *v1alpha1.ModelVersion) VersionState {
	conditions, phase := mv.Status.Conditions, mv.Status.ImageBuildPhase
	kubedl := len(conditions) == 0
	switch {
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady), kubedl && phase == v1alpha1.ImageBuildSucceeded:
		return VersionReady
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled), kubedl && phase == v1alpha1.ImageBuildFailed:
		return VersionFailed
	case readyReason(mv) == v1alpha1.ReasonWorkflowRunning, readyReason(mv) == v1alpha1.ReasonRetrying:
		return VersionBuilding
	default:
		return VersionWaiting
	}
}

// End is how an attempt ended.
type End struct {
	// Succeeded says that the image is in the registry.
	Succeeded bool
	// Reason is the Ready condition's.
	Reason string
	// Seconds is how long the attempt took; nil when its Workflow had not ended
	// by itself, since it was deleted, or waited in vain for its pod.
	Seconds *float64
	// Bytes is the size of the files that were packaged.
	Bytes int64

	workflowUID string
}

// Ended is the attempt that has ended by one status of a version and had not by
// the status before; nil when there is none. Nothing but the two statuses
// counts, so that an end is told once, whoever asks however often. A retry is
// an attempt of its own. One in whose place the same status tells of the next
// is never told of as ended.
func Ended(before, after v1alpha1.ModelVersionStatus) *End {
	if !hasEnded(after) || hasEnded(before) && sameAttempt(before, after) {
		return nil
	}
	end := &End{
		Succeeded:   after.ImageBuildPhase == v1alpha1.ImageBuildSucceeded,
		Bytes:       after.SizeBytes,
		workflowUID: after.Workflow.UID,
	}
	if ready := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady); ready != nil {
		end.Reason = ready.Reason
	}
	if after.StartTime != nil && after.FinishTime != nil {
		// Two clocks can be in it, the API server's and Argo's.
		seconds := max(0, after.FinishTime.Sub(after.StartTime.Time).Seconds())
		end.Seconds = &seconds
	}
	return end
}

func hasEnded(status v1alpha1.ModelVersionStatus) bool {
	phase := status.ImageBuildPhase
	return status.Workflow != nil && (phase == v1alpha1.ImageBuildSucceeded || phase == v1alpha1.ImageBuildFailed)
}

// sameAttempt says that no retry lies between two statuses. A Workflow that the
// operator ended for what its pod waits for can still be seen to start.
func sameAttempt(before, after v1alpha1.ModelVersionStatus) bool {
	retried := before.FinishTime != nil && !before.StartTime.Equal(after.StartTime)
	return before.Workflow.UID == after.Workflow.UID && !retried
}

// StepSeconds is how long the steps of an attempt that ended took, by their
// names; the attempt's Workflow is among these, unless it is gone. Argo starts
// the containers of a pod together, and each waits for the one before it: a
// step begins when that one has ended, and the first one with the pod. What
// comes after a step that failed did not run.
func StepSeconds(end End, workflows []*wfv1.Workflow) map[string]float64 {
	seconds := map[string]float64{}
	for _, wf := range workflows {
		if string(wf.UID) != end.workflowUID {
			continue
		}
		begin := startTime(wf)
		for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
			node := stepNode(wf, step)
			if node == nil || node.FinishedAt.IsZero() {
				break
			}
			if begin.Before(&node.StartedAt) {
				begin = node.StartedAt
			}
			if node.FinishedAt.Before(&begin) {
				break // It is what an earlier run left.
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
