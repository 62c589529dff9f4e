package lifecycle

import (
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// shortDigestLength is the number of hex digits of a digest that lists show.
const shortDigestLength = 12

// maxPhase is the number of characters that a status holds of a Workflow's phase,
// which users can edit.
const maxPhase = 64

// statusOf returns the status of a ModelVersion after a verdict. The options
// matter to a verdict that follows a Workflow.
func statusOf(mv *v1alpha1.ModelVersion, v verdict, opts workflow.Options) v1alpha1.ModelVersionStatus {
	status := currentStatus(mv)
	if v.follow != nil {
		describeWorkflow(&status, mv, v.follow, opts)
	}
	if v.progress != nil {
		status.Workflow.ProgressPercent, status.Workflow.ProgressTime = &v.progress.percent, &v.progress.time
	}
	switch v.State {
	case StateWaiting:
		// A ModelVersion that failed before keeps its phase, so that the attempt
		// that it waits for is not taken for one that was deleted.
		if status.Workflow == nil {
			status.ImageBuildPhase = v1alpha1.ImageBuilding
		}
		setConditions(&status, mv, metav1.ConditionFalse, v1alpha1.ConditionReconciling, v.Outcome)
	case StateBuilding:
		status.ImageBuildPhase = v1alpha1.ImageBuilding
		setConditions(&status, mv, metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v.Outcome)
	case StateBuilt:
		status.ImageBuildPhase = v1alpha1.ImageBuildSucceeded
		describeImage(&status, v.Report)
		setConditions(&status, mv, metav1.ConditionTrue, "", v.Outcome)
	case StateFailed:
		status.ImageBuildPhase = v1alpha1.ImageBuildFailed
		setConditions(&status, mv, metav1.ConditionFalse, v1alpha1.ConditionStalled, v.Outcome)
	}
	return status
}

// currentStatus returns the status as it is, for the present generation. A
// status that KubeDL wrote, which has no conditions, is left alone.
func currentStatus(mv *v1alpha1.ModelVersion) v1alpha1.ModelVersionStatus {
	status := *mv.Status.DeepCopy()
	if IsFinished(mv) && len(status.Conditions) == 0 {
		return status
	}
	status.ObservedGeneration = mv.Generation
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = mv.Generation
	}
	return status
}

// describeWorkflow sets what a status reports about the Workflow that the
// ModelVersion follows. What it reported about the image of another one is removed.
func describeWorkflow(status *v1alpha1.ModelVersionStatus, mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, opts workflow.Options) {
	status.Image = workflow.Argument(wf, contract.ParamImage)
	if mv.Spec.Storage.LocalStorage != nil {
		status.NodeName = workflow.Argument(wf, contract.ParamNodeName)
	}
	status.Workflow = workflowStatus(mv, wf, opts)
	status.Attempts = max(status.Attempts, workflow.AttemptNumber(wf))
	status.StartTime = timeOrNil(startTime(wf))
	status.FinishTime = timeOrNil(wf.Status.FinishedAt)
	status.Digest, status.ShortDigest, status.PullSecretName = "", "", ""
	status.Files, status.SizeBytes, status.ImageSizeBytes = 0, 0, 0
	status.SentBytes, status.ReusedBytes = 0, 0
}

// describeImage sets what a status reports about the image that was built.
func describeImage(status *v1alpha1.ModelVersionStatus, run report.Report) {
	status.Digest = run.Image.Digest
	status.ShortDigest = strings.TrimPrefix(run.Image.Digest, "sha256:")[:shortDigestLength]
	status.Files = run.Source.Files
	status.SizeBytes = run.Source.Bytes
	status.ImageSizeBytes = run.Image.Bytes
	if run.Build != nil {
		status.SentBytes, status.ReusedBytes = run.Build.SentBytes, run.Build.ReusedBytes
	}
	status.PullSecretName = run.Image.PullSecret
}

// workflowStatus returns what a status records of a Workflow, and of the
// rebuild requests that were served: a retry of an attempt from before a request
// does not discard it.
func workflowStatus(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, opts workflow.Options) *v1alpha1.WorkflowStatus {
	status := &v1alpha1.WorkflowStatus{
		Name:       wf.Name,
		UID:        string(wf.UID),
		Phase:      text.OneLine(string(wf.Status.Phase), maxPhase),
		Generation: workflow.Generation(wf),
		Rebuild:    workflow.RebuildRequest(wf.Annotations),
		Restarts:   workflow.Restarts(wf),
	}
	if opts.ArgoURL != "" {
		status.URL = fmt.Sprintf("%s/workflows/%s/%s", opts.ArgoURL, wf.Namespace, wf.Name)
	}
	if last := mv.Status.Workflow; last != nil {
		status.Generation = max(status.Generation, last.Generation)
		if last.Rebuild == workflow.RebuildRequest(mv.Annotations) {
			status.Rebuild = last.Rebuild
		}
	}
	return status
}

// setConditions sets Ready, and beside it Reconciling or Stalled, if any. The
// time of a condition whose status changed is left zero.
func setConditions(status *v1alpha1.ModelVersionStatus, mv *v1alpha1.ModelVersion, ready metav1.ConditionStatus, beside string, outcome Outcome) {
	conditions := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready}}
	if beside != "" {
		conditions = append(conditions, metav1.Condition{Type: beside, Status: metav1.ConditionTrue})
	}
	for i := range conditions {
		c := &conditions[i]
		c.Reason, c.Message, c.ObservedGeneration = outcome.Reason, outcome.Message, mv.Generation
		if before := meta.FindStatusCondition(mv.Status.Conditions, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
	status.Conditions = conditions
	status.Message = outcome.Message
}

// withNextCommand returns the message of a failed Workflow with what to do about
// it at its end.
func withNextCommand(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, outcome Outcome) string {
	edit := fmt.Sprintf("which starts a new attempt: kubectl edit mv -n %s %s", mv.Namespace, mv.Name)
	switch outcome.Reason {
	case v1alpha1.ReasonTagTaken:
		return outcome.Message + ". Create a new ModelVersion with another imageTag"
	case v1alpha1.ReasonSourceChanged, v1alpha1.ReasonSourceForbidden:
		return outcome.Message + ". Create a new ModelVersion"
	case v1alpha1.ReasonOutOfMemory:
		return fmt.Sprintf("%s. Raise spec.build.resources.limits.memory, %s", outcome.Message, edit)
	case v1alpha1.ReasonEvicted:
		return fmt.Sprintf("%s. Raise ephemeral-storage in spec.build.resources (Kaniko needs twice the model's size), %s", outcome.Message, edit)
	case v1alpha1.ReasonDeadlineExceeded:
		return fmt.Sprintf("%s. Raise spec.build.deadlineSeconds, %s", outcome.Message, edit)
	case v1alpha1.ReasonPodForbidden:
		return fmt.Sprintf("%s. Create a new ModelVersion with files in another kind of storage or in another namespace, or ask the platform team to change the Pod Security level of the namespace (kubectl get namespace %s --show-labels) and build again: %s", outcome.Message, mv.Namespace, rebuildCommand(mv))
	case v1alpha1.ReasonPodLost, v1alpha1.ReasonWorkflowStopped, v1alpha1.ReasonWorkflowTerminated:
		return fmt.Sprintf("%s. To build again: %s", outcome.Message, rebuildCommand(mv))
	case v1alpha1.ReasonBuildFailed, v1alpha1.ReasonReportInvalid,
		v1alpha1.ReasonWorkflowFailed, v1alpha1.ReasonWorkflowError:
		return outcome.Message + ". " + inspectCommand(wf)
	case v1alpha1.ReasonInvalidSpec:
		return fmt.Sprintf("%s. %s", outcome.Message, workflow.FixSpec(mv))
	default:
		return fmt.Sprintf("%s. After fixing this, rebuild with: %s", outcome.Message, rebuildCommand(mv))
	}
}

// inspectCommand returns the command that shows the log of a build that had a
// pod, or what Argo knows about one that had none.
func inspectCommand(wf *wfv1.Workflow) string {
	for _, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer {
			return fmt.Sprintf("To see its log: kubectl logs -n %s -l workflows.argoproj.io/workflow=%s --all-containers --tail=50", wf.Namespace, wf.Name)
		}
	}
	return fmt.Sprintf("To see what Argo reports: kubectl describe wf -n %s %s", wf.Namespace, wf.Name)
}

func rebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s %s="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name, v1alpha1.AnnotationRebuild)
}

// ReadyReason returns the reason of a ModelVersion's Ready condition, or an
// empty string.
func ReadyReason(mv *v1alpha1.ModelVersion) string {
	if c := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// startTime returns when a Workflow began: when Argo started it, or started it
// again for a retry, and before that when it was created.
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
