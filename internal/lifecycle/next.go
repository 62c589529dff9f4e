package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// maxRestarts is how many times in a row the Workflow of an unfinished build is
// created again after it was deleted.
const maxRestarts = 3

// Observed is everything that a pass has read about one ModelVersion.
type Observed struct {
	// Version is the ModelVersion, which is not being deleted.
	Version *v1alpha1.ModelVersion
	// Workflows are controlled by the ModelVersion and not being deleted.
	Workflows []*wfv1.Workflow
	// Followed is the one of them that SelectWorkflow selects, or nil.
	Followed *wfv1.Workflow
	// Invalid is the Workflow that the status names, if it cannot be decoded.
	Invalid *InvalidWorkflow
	// ArgoMissing is true if the cluster does not have Argo's kinds. In that case
	// nothing else was read.
	ArgoMissing bool
	// Training is the workload that the ModelVersion waits for, or was created from, or
	// nil when it does not exist. TrainingKindMissing is true if the cluster does not have
	// its kind.
	Training            *unstructured.Unstructured
	TrainingKindMissing bool
	// TrainingPods have the ModelVersion's name in their label train-version.
	// They are read together with Training.
	TrainingPods []corev1.Pod
	// Versions are ModelVersions of the same Model, in any order: the latest, and those
	// with UnknownImages.
	Versions []v1alpha1.ModelVersion
	// Bases are the ModelVersions that BaseVersions names, as far as they exist. They are
	// read when the followed Workflow has completed.
	Bases []v1alpha1.ModelVersion
	// TemplateFound is true if the ClusterWorkflowTemplate exists.
	TemplateFound bool
	// TemplateMarked is true if it has the label that allows ModelVersions to name
	// it.
	TemplateMarked bool
	// UserAssigned is true if the namespace assigns users to containers.
	UserAssigned bool
	// ModelTerminating is true while a Model of this name is being deleted.
	ModelTerminating bool
	// StartedPods are the IDs of those nodes of the followed Workflow whose pods
	// are no longer pending, which Argo may notice later.
	StartedPods []string
	// QueuedPods are those pods of the followed Workflow that have scheduling gates.
	QueuedPods []QueuedPod
	// TerminatingPod is the name of a pod of the followed Workflow that is being deleted
	// and has not ended, or empty. Argo waits for it.
	TerminatingPod string
	// PodMissing is true if the followed Workflow has no pod that has not ended.
	PodMissing bool
	// MountFailure is what kubelet reports about the pod of the followed Workflow,
	// or nil.
	MountFailure *MountFailure
	// ClaimUsers are other pods that use the claim which ContestedClaim returns.
	ClaimUsers []ClaimUser
	// Now is when the pass began.
	Now time.Time
	// WaitsSince is when the operator first saw, by the same clock as Now, that the
	// followed Workflow waits for what WaitsFor returns. The clocks of Argo, of the API
	// server and of the operator differ, so no time of theirs is compared with Now.
	WaitsSince time.Time
}

// An InvalidWorkflow is a Workflow that the API server stores and that cannot be
// decoded, or is too large.
type InvalidWorkflow struct {
	Name, Message string
}

// A Step is what a pass has to do, in this order: create, describe, patch the status,
// update, resync, terminate, delete.
type Step struct {
	// Create is the Workflow to create, or nil. Once it exists, Follow returns
	// the status in place of Status.
	Create *wfv1.Workflow
	// Volume is the storage that the operator has to create first, for Create or
	// for the training that is waited for, or nil.
	Volume *workflow.Volume
	// Status is what is true then. The times of conditions that changed are zero.
	Status v1alpha1.ModelVersionStatus
	// Update is the Workflow whose arguments have to be updated, with the new ones,
	// or nil. It has not started.
	Update *wfv1.Workflow
	// Resync is the Workflow that Argo has to look at again, with the annotation that
	// it gets, or nil.
	Resync *wfv1.Workflow
	// Describe is the Workflow whose label and annotation have to say why it has failed,
	// with both, or nil. An empty label is removed.
	Describe *wfv1.Workflow
	// Terminate is the Workflow to terminate, or nil. The status is patched first,
	// because it records the reason.
	Terminate *wfv1.Workflow
	// Delete are the finished Workflows beyond the history limit, and the followed one if
	// Argo will never continue it: the next pass creates another attempt.
	Delete []*wfv1.Workflow
	// Ignored is why a rebuild that a user requested has no effect, or empty.
	Ignored string
	// LineageProblem is why an attempt is created without the lineage that the workload
	// declares, for an event, or nil.
	LineageProblem *workflow.Problem
	// RequeueAfter is when the next pass is due even if no event occurs, because a
	// pod that does not start causes none. Zero waits for events only.
	RequeueAfter time.Duration
}

// IsFinished reports whether a ModelVersion's result is final: its image was
// built, or KubeDL finished it, whose failures are final too.
func IsFinished(mv *v1alpha1.ModelVersion) bool {
	if mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded {
		return true
	}
	return finishedByKubeDL(mv)
}

// finishedByKubeDL reports whether KubeDL finished a ModelVersion: it wrote no
// conditions.
func finishedByKubeDL(mv *v1alpha1.ModelVersion) bool {
	phase := mv.Status.ImageBuildPhase
	return len(mv.Status.Conditions) == 0 && (phase == v1alpha1.ImageBuildSucceeded || phase == v1alpha1.ImageBuildFailed)
}

// NextStep decides what to do about a ModelVersion.
func NextStep(o Observed, opts workflow.Options) Step {
	o.Version = withLineage(withPullHost(withChiefNode(o.Version, o.TrainingPods), opts), o)
	v := decide(o, opts)
	v.bases = o.Bases
	step := Step{
		Create:       v.create,
		Volume:       v.volume,
		Status:       statusOf(o.Version, v, opts),
		Update:       v.update,
		Resync:       v.resync,
		Describe:     describe(o, v, opts),
		Terminate:    v.terminate,
		RequeueAfter: v.requeueAfter,
	}
	if finishedByKubeDL(o.Version) && workflow.RebuildRequest(o.Version.Annotations) != "" {
		step.Ignored = "KubeDL has finished this ModelVersion, and its result is final. To build the files, create a new ModelVersion"
	}
	if step.Create != nil {
		_, step.LineageProblem = annotatedLineage(o)
	}
	step.Delete = beyondHistoryLimit(o.Workflows, step.Status.Workflow, opts.History)
	if v.lost != nil {
		step.Delete = append(step.Delete, v.lost)
	}
	return step
}

// A verdict is the result of a decision: the outcome, and what to do about it.
// statusOf turns it into a status.
type verdict struct {
	// Outcome is the state, with its reason and message. An empty state leaves
	// the status as it is.
	Outcome
	// follow is the Workflow that the status describes from now on. Nil leaves
	// it with the last one.
	follow *wfv1.Workflow
	// progress is how far the build is, or nil.
	progress *progress
	// The rest is Step's.
	create, update, resync, terminate *wfv1.Workflow
	volume                            *workflow.Volume
	requeueAfter                      time.Duration
	// lost is the followed Workflow if Argo will never continue it, or nil.
	lost *wfv1.Workflow
	// queuedUntil is when the gates of the followed Workflow's pod were removed, or
	// nil.
	queuedUntil *metav1.Time
	// bases are Observed's.
	bases []v1alpha1.ModelVersion
}

// unchanged is the verdict that leaves a status as it is.
var unchanged = verdict{}

func wait(reason, message string) verdict {
	return verdict{Outcome: Outcome{State: StateWaiting, Reason: reason, Message: message}}
}

func fail(reason, message string) verdict {
	return verdict{Outcome: Outcome{State: StateFailed, Reason: reason, Message: message}}
}

// following is the verdict on a ModelVersion that follows a Workflow.
func following(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, opts workflow.Options) verdict {
	outcome := WorkflowOutcome(wf)
	pushed := workflow.Argument(wf, contract.ParamImage)
	image := workflow.PullReference(pushed, opts)
	if outcome.State == StateBuilt {
		outcome.Message = strings.Replace(outcome.Message, pushed, image, 1)
	}
	if outcome.State == StateFailed {
		outcome.Message = withNextCommand(mv, wf, outcome)
		digest := workflow.Argument(wf, contract.ParamKnownDigest)
		if outcome.Report.ImageLost && digest != "" {
			outcome.Reason = v1alpha1.ReasonImageLost
			outcome.Message = fmt.Sprintf("The registry no longer has the image %s, and it could not be built again: %s", workflow.Pinned(image, digest), outcome.Message)
		}
	}
	if outcome.State == StateBuilt && outcome.Reason == v1alpha1.ReasonHeldByPolicy {
		outcome.Message += ". To have it verified afterwards, rebuild with: " + RebuildCommand(mv)
	}
	return verdict{Outcome: outcome, follow: wf}
}

func decide(o Observed, opts workflow.Options) verdict {
	switch {
	case finishedByKubeDL(o.Version):
		return unchanged
	case IsFinished(o.Version):
		return whenReady(o, opts)
	case o.Followed == nil:
		return withoutWorkflow(o, opts)
	default:
		return withWorkflow(o, opts)
	}
}

// withoutWorkflow decides about a ModelVersion that has no Workflow yet, or no
// longer has one.
func withoutWorkflow(o Observed, opts workflow.Options) verdict {
	mv := o.Version
	last := mv.Status.Workflow
	building := mv.Status.ImageBuildPhase == v1alpha1.ImageBuilding
	switch {
	case last == nil:
		return start(o, workflow.Attempt{}, opts)
	case o.Invalid != nil:
		return fail(v1alpha1.ReasonWorkflowInvalid, fmt.Sprintf("Workflow %s is invalid: %s. To build again, delete it: kubectl delete wf -n %s %s && %s",
			o.Invalid.Name, sentence(o.Invalid.Message), mv.Namespace, o.Invalid.Name, RebuildCommand(mv)))
	case building && o.ArgoMissing:
		return argoMissing
	case building && last.Restarts >= maxRestarts:
		return fail(v1alpha1.ReasonWorkflowDeleted, fmt.Sprintf("The Workflow of the unfinished build was deleted %d times in a row. To build again: %s", maxRestarts+1, RebuildCommand(mv)))
	case building:
		return start(o, workflow.Attempt{Collision: workflow.TagCollision(mv, mv.Status.Image), Restarts: last.Restarts + 1}, opts)
	case rebuildRequested(o, last):
		return start(o, workflow.Attempt{Collision: workflow.TagCollision(mv, mv.Status.Image)}, opts)
	case meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionReconciling):
		// A rebuild was requested, had to wait, and is no longer requested.
		return fail(v1alpha1.ReasonWorkflowFailed, fmt.Sprintf("The last build failed, and its Workflow was deleted. To build again: %s", RebuildCommand(mv)))
	default:
		return unchanged
	}
}

// withWorkflow decides about a ModelVersion by the Workflow that it follows.
func withWorkflow(o Observed, opts workflow.Options) verdict {
	mv, wf := o.Version, o.Followed
	v := following(mv, wf, opts)
	recorded := workflowStatus(mv, wf, opts)
	image := workflow.Argument(wf, contract.ParamImage)
	collision := workflow.TagCollision(mv, image)
	switch {
	case v.State == StateFailed && v.Reason == v1alpha1.ReasonTagTaken && workflow.HasAutomaticTag(mv, image):
		return start(o, workflow.Attempt{Collision: collision + 1}, opts)
	case templateNotSeen(wf) && recorded.Restarts < maxRestarts:
		return start(o, workflow.Attempt{Collision: collision, Restarts: recorded.Restarts + 1}, opts)
	case v.State == StateFailed && rebuildRequested(o, recorded):
		return start(o, workflow.Attempt{Collision: collision}, opts)
	case terminatedByOperator(mv, wf, v.Outcome):
		// An earlier pass may have been interrupted before it terminated the
		// Workflow.
		return startFailure(wf, ReadyReason(mv), mv.Status.Message)
	case v.State == StateBuilding:
		v = whileBuilding(o, v, opts)
		v.update = whileQueued(o, opts)
		return v
	default:
		return v
	}
}

// templateNotSeen reports whether Argo did not find the Workflow's template. It
// may not have the template in its cache yet: the operator can observe a new
// template a moment before Argo's controller does.
func templateNotSeen(wf *wfv1.Workflow) bool {
	return wf.Status.Phase == wfv1.WorkflowError &&
		strings.Contains(wf.Status.Message, fmt.Sprintf("clusterworkflowtemplates.argoproj.io %q not found", wf.Spec.WorkflowTemplateRef.Name))
}

// start returns the verdict that creates the next attempt, or what the attempt
// waits for, or why it is not possible.
func start(o Observed, attempt workflow.Attempt, opts workflow.Options) verdict {
	mv := o.Version
	if o.ModelTerminating {
		return wait(v1alpha1.ReasonModelTerminating, fmt.Sprintf("Model %s is being deleted; the build starts when it is gone", mv.Spec.ModelName))
	}
	attempt.Number, attempt.Previous, attempt.UserAssigned = attempts(o)+1, latestOf(o.Versions), o.UserAssigned
	training, waits := awaitTraining(o, opts)
	wf, problem := workflow.New(mv, attempt, opts)
	if workflow.LacksChiefNode(mv) {
		problem = workflow.TrainingProblem(mv, opts)
	}
	switch {
	case problem != nil:
		return fail(problem.Reason, problem.Message)
	case waits:
		training.volume = workflow.StorageVolume(mv, opts)
		return training
	case o.ArgoMissing:
		return argoMissing
	case !o.TemplateFound:
		return wait(v1alpha1.ReasonTemplateMissing, templateMissing(mv, opts))
	case !templateAllowed(o, opts):
		return wait(v1alpha1.ReasonTemplateNotAllowed, templateNotAllowed(mv, opts))
	}
	v := following(mv, wf, opts)
	v.create, v.volume = wf, workflow.StorageVolume(mv, opts)
	// No event follows if no controller of Argo notices the Workflow.
	v.requeueAfter = min(argoPatience, opts.PendingTimeout)
	return v
}

func templateMissing(mv *v1alpha1.ModelVersion, opts workflow.Options) string {
	name := workflow.TemplateName(mv, opts)
	message := fmt.Sprintf("ClusterWorkflowTemplate %s does not exist; the build starts when it does", name)
	switch {
	case name != workflow.PlatformTemplate(mv, opts):
		return fmt.Sprintf("%s. To build with another one, change spec.build.workflowTemplate: kubectl edit mv -n %s %s", message, mv.Namespace, mv.Name)
	case name == contract.BuildTemplate || name == contract.StreamTemplate:
		return message + ". To install it: kubectl apply --server-side -k workflow-templates"
	default:
		return message + ". The operator's configuration names it; ask the platform team"
	}
}

func templateNotAllowed(mv *v1alpha1.ModelVersion, opts workflow.Options) string {
	return fmt.Sprintf("ModelVersions may not name ClusterWorkflowTemplate %s: it does not have the label %s=true. The build starts when the platform team adds the label. To build with the platform's template, remove spec.build.workflowTemplate: kubectl edit mv -n %s %s",
		workflow.TemplateName(mv, opts), v1alpha1.LabelBuildTemplate, mv.Namespace, mv.Name)
}

var argoMissing = wait(v1alpha1.ReasonArgoMissing, "Argo Workflows is not installed: the API server does not serve Workflows and ClusterWorkflowTemplates. The build starts when it is. To install it: https://argo-workflows.readthedocs.io/en/latest/installation")

// Follow returns the status of a ModelVersion whose Workflow exists now. A pass
// that was interrupted may have created it, and so may a user: one that does not
// build the ModelVersion is not followed, although the ModelVersion controls it.
func Follow(o Observed, wf *wfv1.Workflow, opts workflow.Options) v1alpha1.ModelVersionStatus {
	o.Version = withLineage(withPullHost(withChiefNode(o.Version, o.TrainingPods), opts), o)
	if !builds(wf, o, opts) {
		return NameConflict(o, wf.Name)
	}
	if IsFinished(o.Version) {
		return statusOf(o.Version, checking(o.Version, following(o.Version, wf, opts)), opts)
	}
	return statusOf(o.Version, following(o.Version, wf, opts), opts)
}

// NameConflict returns the status of a ModelVersion whose Workflow cannot be
// created, since another one that does not belong to it has the name.
func NameConflict(o Observed, name string) v1alpha1.ModelVersionStatus {
	mv := withChiefNode(o.Version, o.TrainingPods)
	message := fmt.Sprintf("Workflow %s exists and does not belong to this ModelVersion. To replace it with the build: kubectl delete wf -n %s %s && %s", name, mv.Namespace, name, RebuildCommand(mv))
	return statusOf(mv, waitingFor(mv, fail(v1alpha1.ReasonWorkflowNameConflict, message)), workflow.Options{})
}

// Rejected returns the status of a ModelVersion for which the API server
// rejects, with this message, a resource that the build needs.
func Rejected(mv *v1alpha1.ModelVersion, message string) v1alpha1.ModelVersionStatus {
	return statusOf(mv, waitingFor(mv, wait(v1alpha1.ReasonRefused, "The API server rejected a resource that the build needs; retrying: "+sentence(message))), workflow.Options{})
}

// Unstorable returns the status of a ModelVersion for which the API server rejects,
// with this message, the status that its Workflow led to: users can write into a
// Workflow what no status can hold.
func Unstorable(mv *v1alpha1.ModelVersion, message string) v1alpha1.ModelVersionStatus {
	return statusOf(mv, fail(v1alpha1.ReasonReportInvalid, fmt.Sprintf("The API server rejected the status that the Workflow led to: %s. To build again: %s", sentence(message), RebuildCommand(mv))), workflow.Options{})
}

// ArgoMissing returns the status of a ModelVersion that cannot be built, since
// the cluster does not have Argo's kinds.
func ArgoMissing(mv *v1alpha1.ModelVersion) v1alpha1.ModelVersionStatus {
	return statusOf(mv, waitingFor(mv, argoMissing), workflow.Options{})
}

// attempts returns how many attempts were created, by the status and by the
// Workflows themselves, since a pass may have ended between the two writes.
func attempts(o Observed) int64 {
	count := o.Version.Status.Attempts
	for _, wf := range o.Workflows {
		count = max(count, workflow.AttemptNumber(wf))
	}
	return count
}

// rebuildRequested reports whether a user requested an attempt that was not
// created yet, by editing spec.build or by the rebuild annotation. The last
// Workflow may be an old one that was resubmitted or retried, so all of them
// count.
func rebuildRequested(o Observed, last *v1alpha1.WorkflowStatus) bool {
	mv := o.Version
	requested := workflow.RebuildRequest(mv.Annotations)
	serves := func(generation int64, request string) bool {
		return generation >= mv.Generation && (requested == "" || request == requested)
	}
	return !serves(last.Generation, last.Rebuild) && !slices.ContainsFunc(o.Workflows, func(wf *wfv1.Workflow) bool {
		return serves(workflow.Generation(wf), workflow.RebuildRequest(wf.Annotations))
	})
}

// terminatedByOperator reports whether the operator, and not a user, terminated
// the Workflow, for a reason that the status records. What caused it, an event
// or the state of a pod, is gone before the Workflow has ended, and the cache may
// show that before it shows the termination: the Workflow is then as it was. A
// retry starts again, is followed as running, and so clears the reason.
func terminatedByOperator(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, outcome Outcome) bool {
	last := mv.Status.Workflow
	started := startTime(wf)
	terminating := wf.Spec.Shutdown == wfv1.ShutdownStrategyTerminate
	// A retry follows the end of the Workflow, which the status then shows. A user's
	// machine sets the start of a retry: its clock decides only if no pass has seen the
	// end.
	unchanged := mv.Status.FinishTime == nil && !mv.Status.StartTime.Before(&started)
	ending := outcome.State == StateBuilding && (terminating || unchanged)
	return (ending || outcome.Reason == v1alpha1.ReasonWorkflowTerminated) &&
		last != nil && last.UID == string(wf.UID) &&
		mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed &&
		slices.Contains(startFailureReasons, ReadyReason(mv))
}

// startFailureReasons are the reasons for which the operator terminates a
// Workflow.
var startFailureReasons = []string{
	v1alpha1.ReasonSourceMissing, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonImagePullFailed,
	v1alpha1.ReasonVolumeMountFailed, v1alpha1.ReasonPodNotStarted,
}

// startFailure is the verdict on a Workflow whose pod did not start: it is
// terminated, unless it has ended or is being terminated.
func startFailure(wf *wfv1.Workflow, reason, message string) verdict {
	v := fail(reason, message)
	v.follow = wf
	if wf.Spec.Shutdown != wfv1.ShutdownStrategyTerminate && !wf.Status.Phase.Completed() {
		v.terminate = wf
	}
	return v
}
