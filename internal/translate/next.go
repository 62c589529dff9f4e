package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// maxRestarts bounds how many times in a row the Workflow of an unfinished
// build is made anew after it was deleted.
const maxRestarts = 3

// Observed is everything that a pass has read about one version.
type Observed struct {
	// Version is the version itself. It is not being deleted.
	Version *v1alpha1.ModelVersion
	// Workflows are those that the version controls and that are not being
	// deleted.
	Workflows []*wfv1.Workflow
	// ArgoMissing says that the cluster does not have Argo's kinds, so that
	// nothing else was read.
	ArgoMissing bool
	// Training is the workload that the version waits for; nil when it does not
	// exist. TrainingKindMissing says that the cluster does not have its kind.
	Training            *unstructured.Unstructured
	TrainingKindMissing bool
	// TrainingPods are the pods that carry the version's name in the label
	// train-version, for a version whose files lie on a node that it does not
	// name.
	TrainingPods []corev1.Pod
	// Previous is the Model's latest version; nil when it has none.
	Previous *v1alpha1.LatestVersion
	// TemplateFound says that the version's ClusterWorkflowTemplate exists.
	TemplateFound bool
	// TemplateMarked says that it carries the label that lets versions name
	// it.
	TemplateMarked bool
	// ModelTerminating says that the version waits for a Model of its name to
	// be gone.
	ModelTerminating bool
	// StartedPods are the IDs of those nodes of the Workflow that the version
	// follows whose pods are no longer pending, which Argo may say later.
	StartedPods []string
	// MountFailure is what kubelet says of the pod of the Workflow that the
	// version follows. Nil when it says nothing.
	MountFailure *MountFailure
	// Now is when the pass began.
	Now metav1.Time
	// NameTaken is the name of an attempt that could not be made, since a
	// Workflow of that name exists that the version does not control.
	NameTaken string
}

// Step is what a pass has to do: at most one Workflow to create, at most one
// to end, and the status that is true then.
type Step struct {
	// Create is the Workflow to create, or nil.
	Create *wfv1.Workflow
	// Volume is the storage that Create needs, or the training that is waited
	// for, and that the operator makes; or nil.
	Volume *Volume
	// Terminate is the Workflow to end, or nil.
	Terminate *wfv1.Workflow
	// Delete are ended Workflows that are more than are kept.
	Delete []*wfv1.Workflow
	// Status is the version's status once that is done. The times of
	// conditions that changed are zero.
	Status v1alpha1.ModelVersionStatus
	// Again is after how long the version has to be looked at even if nothing
	// happens until then: a pod that does not start is not waited for for ever.
	// Zero when only what happens counts.
	Again metav1.Duration
}

// Final says that a version's result does not change any more: its image was
// built, or KubeDL ended it, whose failures are final too.
func Final(mv *v1alpha1.ModelVersion) bool {
	if mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded {
		return true
	}
	ours := len(mv.Status.Conditions) > 0
	return mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed && !ours
}

// NextStep decides what to do about a version.
func NextStep(o Observed, opts Options) Step {
	current := Followed(o.Version, o.Workflows, opts)
	step := nextStep(o, current, opts)
	step.Delete = surplus(o.Workflows, step.Status.Workflow, opts.History)
	return step
}

func nextStep(o Observed, current *wfv1.Workflow, opts Options) Step {
	switch {
	case Final(o.Version):
		return Step{Status: unchanged(o.Version)}
	case current == nil:
		return withoutWorkflow(o, opts)
	default:
		return withWorkflow(o, current, opts)
	}
}

// withoutWorkflow decides for a version that has no Workflow: none yet, or
// none any more.
func withoutWorkflow(o Observed, opts Options) Step {
	mv := o.Version
	last := mv.Status.Workflow
	switch {
	case last == nil:
		return start(o, 0, 0, opts)
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuilding && o.ArgoMissing:
		return Step{Status: ArgoMissing(mv)}
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuilding && last.Restarts >= maxRestarts:
		message := fmt.Sprintf("The Workflow of the unfinished build was deleted %d times in a row. To try again: %s", maxRestarts+1, rebuildCommand(mv))
		return Step{Status: failedStatus(mv, unchanged(mv), v1alpha1.ReasonWorkflowDeleted, message)}
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuilding:
		return start(o, collision(mv, mv.Status.Image), last.Restarts+1, opts)
	case asksForAttempt(o, last):
		return start(o, collision(mv, mv.Status.Image), 0, opts)
	case meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionReconciling):
		// What was asked for, and waited, is asked for no longer.
		message := fmt.Sprintf("The last build failed, and its Workflow is gone. To try again: %s", rebuildCommand(mv))
		return Step{Status: failedStatus(mv, unchanged(mv), v1alpha1.ReasonWorkflowFailed, message)}
	default:
		return Step{Status: unchanged(mv)}
	}
}

// withWorkflow decides for a version by the Workflow that it follows.
func withWorkflow(o Observed, current *wfv1.Workflow, opts Options) Step {
	mv := o.Version
	outcome := WorkflowOutcome(current)
	status := followed(mv, current, outcome, opts)
	image := argument(current, contract.ParamImage)
	switch {
	case outcome.State == StateFailed && outcome.Reason == v1alpha1.ReasonTagTaken && mv.Spec.ImageTag == "" && isAutomatic(mv, image):
		return start(o, collision(mv, image)+1, 0, opts)
	case argoMissedTemplate(current) && status.Workflow.Restarts < maxRestarts:
		return start(o, collision(mv, image), status.Workflow.Restarts+1, opts)
	case outcome.State == StateFailed && asksForAttempt(o, status.Workflow):
		return start(o, collision(mv, image), 0, opts)
	case endsAsTold(mv, current, outcome):
		// It is told once more where an earlier pass was cut off before it did.
		return Step{Terminate: unlessEnding(current), Status: failedStatus(mv, status, readyReason(mv), mv.Status.Message)}
	case outcome.State == StateBuilding:
		return whilePending(o, current, status, opts)
	default:
		return Step{Status: status}
	}
}

// argoMissedTemplate says that Argo did not find the Workflow's template. It may
// have looked too early: a template that has just been made is seen by the
// operator a moment before Argo's controller sees it.
func argoMissedTemplate(wf *wfv1.Workflow) bool {
	return wf.Status.Phase == wfv1.WorkflowError &&
		strings.Contains(wf.Status.Message, fmt.Sprintf("clusterworkflowtemplates.argoproj.io %q not found", wf.Spec.WorkflowTemplateRef.Name))
}

// unlessEnding is the Workflow, or nil when it has ended or is told to.
func unlessEnding(wf *wfv1.Workflow) *wfv1.Workflow {
	if wf.Spec.Shutdown == wfv1.ShutdownStrategyTerminate || wf.Status.Phase.Completed() {
		return nil
	}
	return wf
}

// start makes the next attempt, or says what it waits for or why there can be
// none.
func start(o Observed, collision int, restarts int64, opts Options) Step {
	mv := o.Version
	if o.ModelTerminating {
		message := fmt.Sprintf("Model %s is being deleted; the build starts when it is gone", mv.Spec.ModelName)
		return Step{Status: waiting(mv, v1alpha1.ReasonModelTerminating, message)}
	}
	mv, notYet := awaitTraining(o, opts)
	wf, problem := Workflow(mv, Attempt{Number: attempts(o) + 1, Collision: collision, Previous: o.Previous}, opts)
	if lacksChiefsNode(mv) {
		problem = trainingProblem(mv, opts)
	}
	if problem != nil {
		return Step{Status: failedStatus(mv, unchanged(mv), problem.Reason, problem.Message)}
	}
	if notYet != nil {
		return Step{Volume: sourceOf(mv, opts).volume, Status: *notYet}
	}
	if wf.Name == o.NameTaken {
		message := fmt.Sprintf("Workflow %s exists and does not belong to this version. To put the build in its place: kubectl delete wf -n %s %s && %s", wf.Name, wf.Namespace, wf.Name, rebuildCommand(mv))
		return Step{Status: failedStatus(mv, unchanged(mv), v1alpha1.ReasonWorkflowNameConflict, message)}
	}
	if o.ArgoMissing {
		return Step{Status: ArgoMissing(mv)}
	}
	if !o.TemplateFound {
		return Step{Status: waiting(mv, v1alpha1.ReasonTemplateMissing, templateMissing(mv, opts))}
	}
	if TemplateName(mv, opts) != platformTemplate(mv, opts) && !o.TemplateMarked {
		return Step{Status: waiting(mv, v1alpha1.ReasonTemplateNotAllowed, templateNotAllowed(mv, opts))}
	}
	wf.Annotations[annotationRestarts] = strconv.FormatInt(restarts, 10)
	return Step{Create: wf, Volume: sourceOf(mv, opts).volume, Status: followed(mv, wf, WorkflowOutcome(wf), opts)}
}

func templateMissing(mv *v1alpha1.ModelVersion, opts Options) string {
	name := TemplateName(mv, opts)
	message := fmt.Sprintf("ClusterWorkflowTemplate %s does not exist; the build starts when it does", name)
	switch {
	case name != platformTemplate(mv, opts):
		return fmt.Sprintf("%s. To build with another: kubectl edit mv -n %s %s, under spec.build.workflowTemplate", message, mv.Namespace, mv.Name)
	case name == contract.BuildTemplate || name == contract.StreamTemplate:
		return message + ". To install it: kubectl apply --server-side -k workflow-templates"
	default:
		return message + ". It is named in the operator's configuration, which the platform team keeps"
	}
}

func templateNotAllowed(mv *v1alpha1.ModelVersion, opts Options) string {
	return fmt.Sprintf("ClusterWorkflowTemplate %s is not one that versions may name: it has no label %s=true. The build starts when the platform team gives it that. To build with the platform's own, take spec.build.workflowTemplate away: kubectl edit mv -n %s %s",
		TemplateName(mv, opts), v1alpha1.LabelBuildTemplate, mv.Namespace, mv.Name)
}

// Refused is the status of a version for which the API server refuses, in
// these words, what its build needs.
func Refused(mv *v1alpha1.ModelVersion, words string) v1alpha1.ModelVersionStatus {
	return waiting(mv, v1alpha1.ReasonRefused, "The API server refuses what the build needs; it is asked again: "+sentence(words))
}

// ArgoMissing is the status of a version that cannot be built since the cluster
// does not have Argo's kinds.
func ArgoMissing(mv *v1alpha1.ModelVersion) v1alpha1.ModelVersionStatus {
	return waiting(mv, v1alpha1.ReasonArgoMissing, "Argo Workflows is not installed: the cluster does not know Workflows and ClusterWorkflowTemplates. The build starts when it does. To install it: https://argo-workflows.readthedocs.io/en/latest/installation")
}

// attempts counts the attempts that were made, by the status and by the
// Workflows themselves, since a pass may have ended between the two writes.
func attempts(o Observed) int64 {
	count := o.Version.Status.Attempts
	for _, wf := range o.Workflows {
		count = max(count, labelledAttempt(wf))
	}
	return count
}

func labelledAttempt(wf *wfv1.Workflow) int64 {
	return number(wf.Labels[v1alpha1.LabelAttempt])
}

// asksForAttempt says that a person asked for an attempt that was not made yet:
// by editing how the version is built, or by the rebuild annotation. The last
// Workflow may be an old one that was resubmitted or retried, so that all are
// looked at.
func asksForAttempt(o Observed, last *v1alpha1.WorkflowStatus) bool {
	mv := o.Version
	asked := rebuild(mv.Annotations)
	answers := func(generation int64, wish string) bool {
		return generation >= mv.Generation && (asked == "" || wish == asked)
	}
	return !answers(last.Generation, last.Rebuild) && !slices.ContainsFunc(o.Workflows, func(wf *wfv1.Workflow) bool {
		return answers(number(wf.Annotations[v1alpha1.AnnotationGeneration]), rebuild(wf.Annotations))
	})
}

// maxRebuild is as much of the rebuild annotation as a status keeps.
const maxRebuild = 1024

// rebuild is the wish for a new attempt that an object carries.
func rebuild(annotations map[string]string) string {
	wish := []rune(annotations[v1alpha1.AnnotationRebuild])
	return string(wish[:min(len(wish), maxRebuild)])
}

// collision is how many automatic tags were taken before the image's.
func collision(mv *v1alpha1.ModelVersion, image string) int {
	for i := range automaticTagLengths {
		if tag, _ := automaticTag(mv.UID, i); tag == tagOf(image) {
			return i
		}
	}
	return 0
}

func isAutomatic(mv *v1alpha1.ModelVersion, image string) bool {
	tag, _ := automaticTag(mv.UID, collision(mv, image))
	return tag == tagOf(image)
}

// endsAsTold says that the operator has told the Workflow to end, for a reason
// that the status remembers, and not a person. What spoke for that reason, a
// pod's event or state, is gone before the Workflow has ended, and may be seen
// to be gone before the Workflow is seen to have been told: it is then as it
// was. A retry starts anew, is followed as running, and so forgets.
func endsAsTold(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, outcome Outcome) bool {
	last := mv.Status.Workflow
	started := startTime(wf)
	told := wf.Spec.Shutdown == wfv1.ShutdownStrategyTerminate
	ending := outcome.State == StateBuilding && (told || mv.Status.StartTime.Equal(&started))
	return (ending || outcome.Reason == v1alpha1.ReasonWorkflowTerminated) &&
		last != nil && last.UID == string(wf.UID) &&
		mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed &&
		slices.Contains(neverStarted, readyReason(mv))
}

// neverStarted are the reasons for which the operator ends a Workflow.
var neverStarted = []string{
	v1alpha1.ReasonSourceMissing, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonImagePullFailed,
	v1alpha1.ReasonVolumeMountFailed, v1alpha1.ReasonPodNotStarted,
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
