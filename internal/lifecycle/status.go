package lifecycle

import (
	"cmp"
	"fmt"
	"regexp"
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

// maxDigest is the number of characters that a status holds of a digest.
const maxDigest = 256

// maxUser is the number of characters that a status holds of a user's name.
const maxUser = 256

// statusOf returns the status of a ModelVersion after a verdict. The options
// matter to a verdict that follows a Workflow. The time of a failure without a
// Workflow, as the time of a condition whose status changed, is left zero.
func statusOf(mv *v1alpha1.ModelVersion, v verdict, opts workflow.Options) v1alpha1.ModelVersionStatus {
	status := currentStatus(mv)
	if v.follow != nil {
		describeWorkflow(&status, mv, v.follow, opts)
	}
	if v.progress != nil {
		status.Workflow.ProgressPercent, status.Workflow.ProgressTime = &v.progress.percent, &v.progress.time
	}
	if v.queuedUntil != nil {
		status.Workflow.QueuedUntil = v.queuedUntil
	}
	switch v.State {
	case StateWaiting:
		// A ModelVersion that failed before keeps its phase, so that the attempt
		// that it waits for is not taken for one that was deleted.
		if status.Workflow == nil {
			status.ImageBuildPhase, status.FinishTime = v1alpha1.ImageBuilding, nil
		}
		setConditions(&status, mv, metav1.ConditionFalse, v1alpha1.ConditionReconciling, v.Outcome)
	case StateBuilding:
		status.ImageBuildPhase = v1alpha1.ImageBuilding
		setConditions(&status, mv, metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v.Outcome)
	case StateBuilt:
		status.ImageBuildPhase = v1alpha1.ImageBuildSucceeded
		describeBuilt(&status, mv, v)
		// A request that was made during the attempt is served by it.
		status.Workflow.Rebuild = workflow.RebuildRequest(mv.Annotations)
		setConditions(&status, mv, metav1.ConditionTrue, "", v.Outcome)
	case StateFailed:
		status.ImageBuildPhase = v1alpha1.ImageBuildFailed
		keepRevision(&status, v.Report)
		if v.follow == nil && status.FinishTime == nil {
			status.FinishTime = &metav1.Time{}
		}
		setConditions(&status, mv, metav1.ConditionFalse, v1alpha1.ConditionStalled, v.Outcome)
	}
	return status
}

// describeBuilt sets what a status reports about the image of an attempt that has
// succeeded, or the signature of one that only checked the image.
func describeBuilt(status *v1alpha1.ModelVersionStatus, mv *v1alpha1.ModelVersion, v verdict) {
	if v.follow != nil {
		keepRevision(status, v.Report)
		describeImage(status, v.Report)
		status.Lineage = fullLineage(mv, v.Report, v.bases)
	} else if image := v.Report.Image; image != nil && image.Signature != nil {
		status.Signature = signatureStatus(image.Signature)
	}
}

// currentStatus returns the status as it is, for the present generation. A
// status that KubeDL wrote, which has no conditions, is left alone.
func currentStatus(mv *v1alpha1.ModelVersion) v1alpha1.ModelVersionStatus {
	status := *mv.Status.DeepCopy()
	if finishedByKubeDL(mv) {
		return status
	}
	_, trained := mv.Annotations[v1alpha1.AnnotationTrained]
	status.Trained = status.Trained || trained
	status.ModelUID = modelUID(mv)
	status.ObservedGeneration = mv.Generation
	// The annotation may be removed later.
	status.CreatedByUser = cmp.Or(status.CreatedByUser, text.OneLine(mv.Annotations[v1alpha1.AnnotationCreatedByUser], maxUser))
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = mv.Generation
	}
	return status
}

// describeWorkflow sets what a status reports about the Workflow that the
// ModelVersion follows. What it reported about the image of another one is removed.
func describeWorkflow(status *v1alpha1.ModelVersionStatus, mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, opts workflow.Options) {
	describeReference(status, workflow.Argument(wf, contract.ParamImage), opts)
	if mv.Spec.Storage.LocalStorage != nil {
		status.NodeName = workflow.Argument(wf, contract.ParamNodeName)
	}
	status.Workflow = workflowStatus(mv, wf, opts)
	status.Attempts = max(status.Attempts, workflow.AttemptNumber(wf))
	status.LatestAttemptTime = laterTime(status.LatestAttemptTime, wf.CreationTimestamp)
	status.StartTime = laterTime(status.StartTime, startTime(wf))
	status.FinishTime = timeOrNil(wf.Status.FinishedAt)
	status.Digest, status.ShortDigest, status.PullSecretName, status.Signature = "", "", "", nil
	status.Lineage = ownLineage(mv)
	status.Files, status.SizeBytes, status.ImageSizeBytes = 0, 0, 0
	status.SentBytes, status.ReusedBytes = 0, 0
	status.Source = sourceStatus(revisionOf(status.Source), "")
}

// describeReference sets the reference by which pods pull an image and, if it is
// another one, that to which the image is pushed.
func describeReference(status *v1alpha1.ModelVersionStatus, pushed string, opts workflow.Options) {
	status.Image, status.PushedImage = workflow.PullReference(pushed, opts), ""
	if status.Image != pushed {
		status.PushedImage = pushed
	}
}

// withPullHost returns a ModelVersion whose status has the reference by which pods pull
// its image now: the configuration may have changed since the image was pushed.
func withPullHost(mv *v1alpha1.ModelVersion, opts workflow.Options) *v1alpha1.ModelVersion {
	pushed := workflow.PushedImage(mv)
	if finishedByKubeDL(mv) || pushed == "" || mv.Status.Image == workflow.PullReference(pushed, opts) {
		return mv
	}
	mv = mv.DeepCopy()
	describeReference(&mv.Status, pushed, opts)
	return mv
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
	status.Signature = signatureStatus(run.Image.Signature)
	// An attempt that a user resubmits may resolve the revision to a later commit than the
	// first one did.
	if commit.MatchString(run.Source.Revision) {
		status.Source = sourceStatus(run.Source.Revision, "")
	}
	status.Source = sourceStatus(revisionOf(status.Source), text.OneLine(run.Source.Digest, maxDigest))
}

// signatureStatus returns what a status records of how an image was signed.
func signatureStatus(signature *report.Signature) *v1alpha1.SignatureStatus {
	if signature == nil {
		return nil
	}
	status := &v1alpha1.SignatureStatus{SecretName: signature.Secret, KeyID: signature.KeyID, Bundle: signature.Bundle}
	for _, format := range signature.Formats {
		status.Formats = append(status.Formats, v1alpha1.SignatureFormat(format))
	}
	for _, attestation := range signature.Attestations {
		status.Attestations = append(status.Attestations, v1alpha1.Attestation(attestation))
	}
	return status
}

// keepRevision records the commit that an attempt has found, whatever became of the
// attempt: the first one decides from which commit a ModelVersion is built.
func keepRevision(status *v1alpha1.ModelVersionStatus, run report.Report) {
	if revisionOf(status.Source) == "" && run.Source != nil && commit.MatchString(run.Source.Revision) {
		status.Source = sourceStatus(run.Source.Revision, "")
	}
}

// sourceStatus returns what a status records of storage, or nil if that is nothing.
func sourceStatus(revision, digest string) *v1alpha1.SourceStatus {
	if revision == "" && digest == "" {
		return nil
	}
	return &v1alpha1.SourceStatus{Revision: revision, Digest: digest}
}

// commit matches the commits of hubs.
var commit = regexp.MustCompile(`\A[0-9a-f]{40}\z`)

func revisionOf(source *v1alpha1.SourceStatus) string {
	if source == nil {
		return ""
	}
	return source.Revision
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
		BuildHash:  workflow.BuildHash(wf),
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
// time of a condition whose status changed is left zero. Messages are printed on
// terminals, and a name in a spec can have characters that control them.
func setConditions(status *v1alpha1.ModelVersionStatus, mv *v1alpha1.ModelVersion, ready metav1.ConditionStatus, beside string, outcome Outcome) {
	message := text.Printable(outcome.Message)
	conditions := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready}}
	if beside != "" {
		conditions = append(conditions, metav1.Condition{Type: beside, Status: metav1.ConditionTrue})
	}
	for i := range conditions {
		c := &conditions[i]
		c.Reason, c.Message, c.ObservedGeneration = outcome.Reason, message, mv.Generation
		if before := meta.FindStatusCondition(mv.Status.Conditions, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
	status.Conditions = conditions
	status.Message = message
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

// laterTime returns the later of two times. The start of an attempt is never before
// that of the attempt before it, although the clocks of the API server, of Argo and of
// its last replica differ.
func laterTime(before *metav1.Time, now metav1.Time) *metav1.Time {
	if before != nil && now.Before(before) {
		return before
	}
	return timeOrNil(now)
}

// timeOrNil returns nil for no time, and for one that has no form in UTC that the API
// server accepts: users can write a time of the year 9999 with an offset.
func timeOrNil(t metav1.Time) *metav1.Time {
	if year := t.UTC().Year(); t.IsZero() || year < 1 || year > 9999 {
		return nil
	}
	return ptr.To(t)
}
