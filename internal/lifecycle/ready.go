package lifecycle

import (
	"fmt"
	"reflect"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// whenReady decides about a ModelVersion whose image was built. It stays Ready,
// unless a later attempt has pushed another image, or has found that the registry no
// longer has this one and could not push it again. Users resubmit Workflows, and
// request such an attempt with the rebuild annotation.
func whenReady(o Observed, opts workflow.Options) verdict {
	mv, wf := o.Version, o.Followed
	switch {
	case mv.Status.Workflow == nil:
		return unchanged
	case wf == nil, isDescribed(mv, wf):
		return checkIfRequested(o, opts)
	}
	v := following(mv, wf, opts)
	request := workflow.RebuildRequest(mv.Annotations)
	requested := request != "" && workflow.RebuildRequest(wf.Annotations) == request
	switch {
	case v.State == StateBuilt && v.Report.Image.Digest != mv.Status.Digest:
		return v
	case v.Reason == v1alpha1.ReasonImageLost:
		return v
	case !requested:
		return resubmitted(o, v, opts)
	case v.State == StateBuilt && v.Reason == v1alpha1.ReasonSucceeded:
		return verdict{Outcome: Outcome{
			State: StateBuilt, Reason: v1alpha1.ReasonSucceeded, Report: v.Report,
			Message: withAdvice(fmt.Sprintf("%s. Workflow %s found it there again", verified(mv.Status.Image, mv.Spec.Storage.Image != nil), wf.Name), v.Report),
		}}
	case v.State == StateBuilt:
		return verdict{Outcome: Outcome{State: StateBuilt, Reason: v.Reason, Message: v.Message, Report: v.Report}}
	case v.State == StateFailed:
		return stayReady(mv, fmt.Sprintf("Workflow %s, which checks it, failed: %s", wf.Name, v.Message))
	default:
		building := whileBuilding(o, v, opts)
		check := checking(mv, building)
		check.terminate, check.requeueAfter = building.terminate, building.requeueAfter
		return check
	}
}

// checkIfRequested returns the verdict that creates the attempt which a user has
// requested with the rebuild annotation, or that says why it cannot be created. A
// request is served once.
func checkIfRequested(o Observed, opts workflow.Options) verdict {
	mv := o.Version
	if !isCheckRequested(mv) {
		return unchanged
	}
	v := start(o, workflow.Attempt{Collision: workflow.TagCollision(mv, mv.Status.Image), KnownDigest: mv.Status.Digest}, opts)
	if v.create == nil {
		return notChecked(mv, v.Message)
	}
	check := checking(mv, v)
	check.create, check.volume = v.create, v.volume
	return check
}

// isCheckRequested reports whether a user has requested an attempt that was not
// created yet.
func isCheckRequested(mv *v1alpha1.ModelVersion) bool {
	request := workflow.RebuildRequest(mv.Annotations)
	return request != "" && request != mv.Status.Workflow.Rebuild
}

// isDescribed reports whether a Workflow is the one that the status describes.
func isDescribed(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow) bool {
	return mv.Status.Workflow.UID == string(wf.UID)
}

// resubmitted returns the verdict on an attempt that a user has resubmitted, and that has
// pushed nothing. It changes the signature at most.
func resubmitted(o Observed, v verdict, opts workflow.Options) verdict {
	mv := o.Version
	if !isCheckRequested(mv) && isSignedAnew(mv, v) {
		return verdict{Outcome: Outcome{State: StateBuilt, Reason: ReadyReason(mv), Message: mv.Status.Message, Report: v.Report}}
	}
	return checkIfRequested(o, opts)
}

// isSignedAnew reports whether an attempt that a user has resubmitted has found the image
// and signed it otherwise than the status says, for example with another key.
func isSignedAnew(mv *v1alpha1.ModelVersion, v verdict) bool {
	return v.State == StateBuilt && v.Report.Image.Signature != nil && !reflect.DeepEqual(signatureStatus(v.Report.Image.Signature), mv.Status.Signature)
}

// notChecked is the verdict on a ModelVersion that stays Ready, since the attempt
// which would check its image cannot be created.
func notChecked(mv *v1alpha1.ModelVersion, why string) verdict {
	return stayReady(mv, "The requested rebuild was not started: "+why)
}

// checking is the verdict on a ModelVersion that stays Ready while an attempt checks
// its image.
func checking(mv *v1alpha1.ModelVersion, attempt verdict) verdict {
	return stayReady(mv, "The requested rebuild checks it: "+attempt.Message)
}

// stayReady is the verdict on a ModelVersion whose status continues to describe the
// attempt that built its image.
func stayReady(mv *v1alpha1.ModelVersion, about string) verdict {
	reason, message := v1alpha1.ReasonSucceeded, verified(mv.Status.Image, mv.Spec.Storage.Image != nil)
	if ReadyReason(mv) == v1alpha1.ReasonHeldByPolicy {
		reason, message = v1alpha1.ReasonHeldByPolicy, held(mv.Status.Image)
	}
	return verdict{Outcome: Outcome{State: StateBuilt, Reason: reason, Message: message + ". " + about}}
}

// built is the outcome of a Workflow with a report that proves what the registry holds.
func built(wf *wfv1.Workflow, run report.Report) Outcome {
	stored := workflow.Argument(wf, contract.ParamStorageKind) == contract.StorageImage
	outcome := Outcome{State: StateBuilt, Reason: v1alpha1.ReasonSucceeded, Message: verified(run.Image.Reference, stored), Report: run}
	if run.Image.HeldBack != "" {
		outcome.Reason = v1alpha1.ReasonHeldByPolicy
		outcome.Message = held(run.Image.Reference) + ": " + sentence(run.Image.HeldBack)
	}
	outcome.Message = withAdvice(outcome.Message, run)
	return outcome
}

// withAdvice returns a message about an image with the advice of the step that has listed
// the files, if any.
func withAdvice(message string, run report.Report) string {
	if run.Source == nil || run.Source.Advice == "" {
		return message
	}
	return message + ". " + sentence(run.Source.Advice)
}

// verified is the message about an image that was built, or that was the storage.
func verified(image string, stored bool) string {
	if stored {
		return fmt.Sprintf("Image %s was verified in the registry", image)
	}
	return fmt.Sprintf("Image %s was pushed and verified in the registry", image)
}

// held is the message about an image that was built and that nobody can pull yet.
func held(image string) string {
	return fmt.Sprintf("Image %s was pushed, and the registry holds it back", image)
}

// waitingFor returns a verdict about what a ModelVersion waits for: one that is Ready
// stays so.
func waitingFor(mv *v1alpha1.ModelVersion, v verdict) verdict {
	if IsFinished(mv) && !finishedByKubeDL(mv) {
		return notChecked(mv, v.Message)
	}
	return v
}

// IsFinal reports whether nothing is left to decide about a ModelVersion with these
// Workflows: its result is final, and there is no later attempt, nor a request for one.
func IsFinal(mv *v1alpha1.ModelVersion, workflows []*wfv1.Workflow) bool {
	switch {
	case !IsFinished(mv):
		return false
	case mv.Status.Workflow == nil:
		return true
	default:
		later := func(wf *wfv1.Workflow) bool { return !isHistory(wf, mv) && !isDescribed(mv, wf) }
		return !isCheckRequested(mv) && !slices.ContainsFunc(workflows, later)
	}
}
