package translate

import (
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// annotationRestarts on a Workflow counts how many unfinished ones before it
// were deleted, so that the count survives a lost status write.
const annotationRestarts = "model.kubedl.io/restarts"

// shortDigestLength is how many hex digits of a digest lists show.
const shortDigestLength = 12

// followed is the status of a version that follows this Workflow.
func followed(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, outcome Outcome, opts Options) v1alpha1.ModelVersionStatus {
	status := unchanged(mv)
	status.Image = argument(wf, contract.ParamImage)
	if mv.Spec.Storage.LocalStorage != nil {
		status.NodeName = argument(wf, contract.ParamNodeName)
	}
	status.Workflow = workflowStatus(mv, wf, opts)
	status.Attempts = max(status.Attempts, labelledAttempt(wf))
	status.StartTime = timeOrNil(startTime(wf))
	status.FinishTime = timeOrNil(wf.Status.FinishedAt)
	status.Digest, status.ShortDigest, status.PullSecretName = "", "", ""
	status.Files, status.SizeBytes, status.ImageSizeBytes = 0, 0, 0
	status.SentBytes, status.ReusedBytes = 0, 0

	switch outcome.State {
	case StateBuilding:
		return buildingStatus(mv, status, outcome)
	case StateBuilt:
		return builtStatus(mv, status, outcome)
	default:
		return failedStatus(mv, status, outcome.Reason, withNextCommand(mv, wf, outcome))
	}
}

// workflowStatus is what a version remembers of the Workflow that it follows,
// and of the wishes that were heard: a retry of an attempt from before a wish
// does not make it forget that.
func workflowStatus(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, opts Options) *v1alpha1.WorkflowStatus {
	status := &v1alpha1.WorkflowStatus{
		Name:       wf.Name,
		UID:        string(wf.UID),
		Phase:      string(wf.Status.Phase),
		Generation: number(wf.Annotations[v1alpha1.AnnotationGeneration]),
		Rebuild:    rebuild(wf.Annotations),
		Restarts:   number(wf.Annotations[annotationRestarts]),
	}
	if opts.ArgoURL != "" {
		status.URL = fmt.Sprintf("%s/workflows/%s/%s", opts.ArgoURL, wf.Namespace, wf.Name)
	}
	if last := mv.Status.Workflow; last != nil {
		status.Generation = max(status.Generation, last.Generation)
		if last.Rebuild == rebuild(mv.Annotations) {
			status.Rebuild = last.Rebuild
		}
	}
	return status
}

func buildingStatus(mv *v1alpha1.ModelVersion, status v1alpha1.ModelVersionStatus, outcome Outcome) v1alpha1.ModelVersionStatus {
	status.ImageBuildPhase = v1alpha1.ImageBuilding
	return withConditions(mv, status, metav1.ConditionUnknown, v1alpha1.ConditionReconciling, outcome.Reason, outcome.Message)
}

func builtStatus(mv *v1alpha1.ModelVersion, status v1alpha1.ModelVersionStatus, outcome Outcome) v1alpha1.ModelVersionStatus {
	run := outcome.Report
	status.ImageBuildPhase = v1alpha1.ImageBuildSucceeded
	status.Digest = run.Image.Digest
	status.ShortDigest = strings.TrimPrefix(run.Image.Digest, "sha256:")[:shortDigestLength]
	status.Files = run.Source.Files
	status.SizeBytes = run.Source.Bytes
	status.ImageSizeBytes = run.Image.Bytes
	if run.Build != nil {
		status.SentBytes, status.ReusedBytes = run.Build.SentBytes, run.Build.ReusedBytes
	}
	status.PullSecretName = run.Image.PullSecret
	return withConditions(mv, status, metav1.ConditionTrue, "", outcome.Reason, outcome.Message)
}

func failedStatus(mv *v1alpha1.ModelVersion, status v1alpha1.ModelVersionStatus, reason, message string) v1alpha1.ModelVersionStatus {
	status.ImageBuildPhase = v1alpha1.ImageBuildFailed
	return withConditions(mv, status, metav1.ConditionFalse, v1alpha1.ConditionStalled, reason, message)
}

// waiting is the status of a version whose next attempt cannot start yet. A
// version that has failed before keeps its phase, so that the attempt which is
// waited for is not taken for one that was deleted.
func waiting(mv *v1alpha1.ModelVersion, reason, message string) v1alpha1.ModelVersionStatus {
	status := unchanged(mv)
	if status.Workflow == nil {
		status.ImageBuildPhase = v1alpha1.ImageBuilding
	}
	return withConditions(mv, status, metav1.ConditionFalse, v1alpha1.ConditionReconciling, reason, message)
}

// unchanged is the status as it is, computed from the present spec. One that
// KubeDL wrote, which has no conditions, is left as it is altogether.
func unchanged(mv *v1alpha1.ModelVersion) v1alpha1.ModelVersionStatus {
	status := *mv.Status.DeepCopy()
	if Final(mv) && len(status.Conditions) == 0 {
		return status
	}
	status.ObservedGeneration = mv.Generation
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = mv.Generation
	}
	return status
}

// withConditions sets Ready, and beside it the one of Reconciling and Stalled
// that is true, if any.
func withConditions(mv *v1alpha1.ModelVersion, status v1alpha1.ModelVersionStatus, ready metav1.ConditionStatus, beside, reason, message string) v1alpha1.ModelVersionStatus {
	wanted := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready}}
	if beside != "" {
		wanted = append(wanted, metav1.Condition{Type: beside, Status: metav1.ConditionTrue})
	}
	for i := range wanted {
		c := &wanted[i]
		c.Reason, c.Message, c.ObservedGeneration = reason, message, mv.Generation
		if before := meta.FindStatusCondition(mv.Status.Conditions, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
	status.Conditions = wanted
	status.Message = message
	return status
}

// withNextCommand ends a failure's message with what to do about it.
func withNextCommand(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, outcome Outcome) string {
	switch outcome.Reason {
	case v1alpha1.ReasonTagTaken:
		return outcome.Message + ". Create a new ModelVersion with another imageTag"
	case v1alpha1.ReasonSourceChanged, v1alpha1.ReasonSourceForbidden:
		return outcome.Message + ". Create a new ModelVersion"
	case v1alpha1.ReasonOutOfMemory:
		return fmt.Sprintf("%s. Raise spec.build.resources.limits.memory, which starts a new attempt: kubectl edit mv -n %s %s", outcome.Message, mv.Namespace, mv.Name)
	case v1alpha1.ReasonEvicted:
		return fmt.Sprintf("%s. Raise spec.build.resources (ephemeral-storage: Kaniko needs twice the model's size), which starts a new attempt: kubectl edit mv -n %s %s", outcome.Message, mv.Namespace, mv.Name)
	case v1alpha1.ReasonPodForbidden:
		return fmt.Sprintf("%s. Create a new ModelVersion for files in another kind of storage or in another namespace, or have the platform team change the namespace's Pod Security level (kubectl get namespace %s --show-labels) and try again: %s", outcome.Message, mv.Namespace, rebuildCommand(mv))
	case v1alpha1.ReasonPodLost:
		return fmt.Sprintf("%s. To try again: %s", outcome.Message, rebuildCommand(mv))
	case v1alpha1.ReasonDeadlineExceeded:
		return fmt.Sprintf("%s. Raise spec.build.deadlineSeconds, which starts a new attempt: kubectl edit mv -n %s %s", outcome.Message, mv.Namespace, mv.Name)
	case v1alpha1.ReasonWorkflowStopped, v1alpha1.ReasonWorkflowTerminated:
		return fmt.Sprintf("%s. To try again: %s", outcome.Message, rebuildCommand(mv))
	case v1alpha1.ReasonBuildFailed, v1alpha1.ReasonReportInvalid,
		v1alpha1.ReasonWorkflowFailed, v1alpha1.ReasonWorkflowError:
		return outcome.Message + ". " + whereToLook(wf)
	case v1alpha1.ReasonInvalidSpec:
		return fmt.Sprintf("%s. %s", outcome.Message, mendSpec(mv))
	default:
		return fmt.Sprintf("%s. When that is mended: %s", outcome.Message, rebuildCommand(mv))
	}
}

// whereToLook names the log of a build that had a pod, and what Argo knows of
// one that had none.
func whereToLook(wf *wfv1.Workflow) string {
	for _, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer {
			return fmt.Sprintf("For its log: kubectl logs -n %s -l workflows.argoproj.io/workflow=%s --all-containers --tail=50", wf.Namespace, wf.Name)
		}
	}
	return fmt.Sprintf("For all that Argo knows: kubectl describe wf -n %s %s", wf.Namespace, wf.Name)
}

// mendSpec is what to do about a value of the spec that cannot be built from.
func mendSpec(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf("What is under spec.build can be changed (kubectl edit mv -n %s %s); anything else needs a new ModelVersion", mv.Namespace, mv.Name)
}

func rebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s %s="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name, v1alpha1.AnnotationRebuild)
}

func readyReason(mv *v1alpha1.ModelVersion) string { return reasonOf(mv.Status) }

// reasonOf is the reason of a status' Ready condition, or empty.
func reasonOf(status v1alpha1.ModelVersionStatus) string {
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// startTime is when a Workflow began: when Argo started it, or started it
// again for a retry, and before that when it was made.
func startTime(wf *wfv1.Workflow) metav1.Time {
	if wf.Status.StartedAt.After(wf.CreationTimestamp.Time) {
		return wf.Status.StartedAt
	}
	return wf.CreationTimestamp
}

func timeOrNil(t metav1.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return ptr.To(t)
}
