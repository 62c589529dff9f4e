package lifecycle

import (
	"errors"
	"fmt"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// ObservedTag is what the registry tag of an alias depends on.
type ObservedTag struct {
	// Workflow is the one that moves the tag to the present ModelVersion of the alias, or
	// its newest resubmit; nil if there is none. Of one that has not completed, only the
	// metadata is known.
	Workflow *wfv1.Workflow
	// TaggedVersion is the name of a ModelVersion of the Model whose own imageTag has the
	// name of the alias; empty if there is none.
	TaggedVersion string
}

// withTag adds the state of the registry tag to the status of an alias, and returns the
// Workflow that is to be created to move the tag, or nil. The status names a Workflow
// before it is created, so that a crash between the two does not end in a second one.
func withTag(o ObservedAliases, alias v1alpha1.Alias, mv *v1alpha1.ModelVersion, next *v1alpha1.AliasStatus, opts workflow.Options) *wfv1.Workflow {
	if !alias.Tag {
		next.Tag = nil
		return nil
	}
	promotion := workflow.Promotion{Model: o.Model, Alias: alias.Name, Version: mv, Since: *next.Since, UserAssigned: o.UserAssigned}
	recorded := next.Tag != nil && next.Tag.Workflow == promotion.Name()
	if !recorded {
		next.Tag = &v1alpha1.AliasTag{Workflow: promotion.Name()}
	}
	if next.Tag.Digest != "" {
		next.Image = workflow.PromotedImage(mv, alias.Name)
		return nil
	}
	if tagged := o.Tags[alias.Name].TaggedVersion; tagged != "" {
		next.Reason = v1alpha1.ReasonInvalidSpec
		next.Message = fmt.Sprintf("The tag %s is the imageTag of ModelVersion %s, and is not moved: choose another name for the alias, or set tag: false", alias.Name, tagged)
		return nil
	}
	wf := o.Tags[alias.Name].Workflow
	before := AliasOf(o.Model, alias.Name)
	switch {
	// Otherwise it belongs to the promotion before.
	case recorded && wf != nil:
		followTag(next, promotion, wf, opts)
		return nil
	case recorded && isTagFailed(before):
		next.Reason, next.Message = before.Reason, before.Message
		return nil
	}
	return createTag(o, next, promotion, recorded, opts)
}

// createTag returns the Workflow that is to be created, if it can be, and says what is
// happening in the status.
func createTag(o ObservedAliases, next *v1alpha1.AliasStatus, promotion workflow.Promotion, recorded bool, opts workflow.Options) *wfv1.Workflow {
	wf, problem := workflow.NewPromotion(promotion, opts)
	switch {
	case problem != nil:
		next.Reason, next.Message = problem.Reason, problem.Message
	case o.ArgoMissing:
		next.Reason = v1alpha1.ReasonArgoMissing
		next.Message = "Argo Workflows is not installed, so the tag is not moved. It is moved as soon as the CRDs exist"
	case o.TemplateMissing:
		next.Reason = v1alpha1.ReasonTemplateMissing
		next.Message = fmt.Sprintf("ClusterWorkflowTemplate %s does not exist, so the tag is not moved. To create it: kubectl apply --server-side -k workflow-templates", contract.PromoteTemplate)
	default:
		moving(next, promotion)
		if recorded {
			return wf
		}
	}
	return nil
}

func moving(next *v1alpha1.AliasStatus, promotion workflow.Promotion) {
	next.Reason = v1alpha1.ReasonTagMoving
	next.Message = fmt.Sprintf("Workflow %s moves the tag %s. To see its progress: argo get -n %s %s", promotion.Name(), promotion.Image(), promotion.Model.Namespace, promotion.Name())
}

// notFailed are the reasons of an alias whose Workflow has not failed.
var notFailed = []string{
	"", v1alpha1.ReasonTagMoving, v1alpha1.ReasonAliasUnresolved, v1alpha1.ReasonArgoMissing, v1alpha1.ReasonTemplateMissing,
	v1alpha1.ReasonRefused, v1alpha1.ReasonWorkflowNameConflict, v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonImageForbidden,
}

// isTagFailed reports whether the Workflow of an alias has failed. When Argo has deleted
// it, the status is the memory.
func isTagFailed(before *v1alpha1.AliasStatus) bool {
	return !slices.Contains(notFailed, before.Reason)
}

// LacksTagWorkflow reports whether the Workflow that the status of an alias names may have
// to be created.
func LacksTagWorkflow(alias *v1alpha1.AliasStatus, observed ObservedTag) bool {
	return alias.Tag != nil && alias.Tag.Digest == "" && observed.Workflow == nil && !isTagFailed(alias)
}

// followTag says in the status what a Workflow means.
func followTag(next *v1alpha1.AliasStatus, promotion workflow.Promotion, wf *wfv1.Workflow, opts workflow.Options) {
	if !wf.Status.Phase.Completed() {
		moving(next, promotion)
		return
	}
	outcome := tagOutcome(wf, promotion, opts)
	if outcome.State == StateBuilt {
		next.Tag.Digest = next.Digest
		next.Image = workflow.PromotedImage(promotion.Version, promotion.Alias)
		return
	}
	next.Reason = outcome.Reason
	next.Message = fmt.Sprintf("%s. To try again: argo retry -n %s %s", outcome.Message, wf.Namespace, wf.Name)
}

// tagOutcome returns what a completed Workflow means to the tag that it was created for.
// As with builds, only a success together with this run's valid report counts.
func tagOutcome(wf *wfv1.Workflow, promotion workflow.Promotion, opts workflow.Options) Outcome {
	if !moves(wf, promotion, opts) {
		return Outcome{State: StateFailed, Reason: v1alpha1.ReasonReportInvalid, Message: fmt.Sprintf("Workflow %s does not move the tag %s as the operator does", wf.Name, promotion.Image())}
	}
	if wf.Status.Phase != wfv1.WorkflowSucceeded {
		return WorkflowOutcome(wf)
	}
	run := runOf(wf)
	reported, err := run.report()
	if err == nil {
		err = checkTag(wf, reported, promotion)
	}
	switch {
	case err == nil:
		return Outcome{State: StateBuilt, Report: reported}
	case wf.Spec.Shutdown.Enabled():
		return shutDown(wf, wf.Spec.Shutdown)
	default:
		return Outcome{State: StateFailed, Reason: v1alpha1.ReasonReportInvalid, Message: fmt.Sprintf("Workflow %s succeeded without proof that the tag was moved: %v", wf.Name, err)}
	}
}

// moves reports whether a Workflow moves the tag of a promotion, and nothing else. Whether
// the namespace assigns users may have changed since, and so may the configuration of the
// platform team: what a Workflow may not have is a host or a proxy that they do not allow.
func moves(wf *wfv1.Workflow, promotion workflow.Promotion, opts workflow.Options) bool {
	if !isReference(wf.Spec) || wf.Spec.WorkflowTemplateRef.Name != contract.PromoteTemplate {
		return false
	}
	want := promotion.Arguments(opts)
	for _, name := range []string{contract.ParamImage, contract.ParamDigest, contract.ParamModel} {
		if workflow.Argument(wf, name) != want[name] {
			return false
		}
	}
	return workflow.UsesPlainHTTPOnlyFor(wf, opts.PlainHTTPRegistries) && workflow.UsesEnvOf(wf, opts.Pods)
}

// checkTag returns nil when a report proves that the tag refers to the image.
func checkTag(wf *wfv1.Workflow, reported report.Report, promotion workflow.Promotion) error {
	root, found := wf.Status.Nodes[wf.Name]
	switch image := promotion.Image(); {
	case (!found || root.Phase != wfv1.NodeSucceeded) && !HidesNodes(wf):
		return errors.New("it did not run to completion")
	case reported.Failure != nil:
		return fmt.Errorf("step %s reported a failure: %s", sentence(reported.Failure.Step), sentence(reported.Failure.Message))
	case reported.Image == nil:
		return errors.New("its report does not say to what the tag refers")
	case reported.Run.Image != image || reported.Image.Reference != image:
		return fmt.Errorf("its report is about another tag, %q", sentence(reported.Image.Reference))
	case reported.Image.Digest != promotion.Version.Status.Digest:
		return fmt.Errorf("its report says that the tag refers to %q", sentence(reported.Image.Digest))
	}
	return nil
}

// TagRejected returns the status of an alias whose Workflow the API server rejects.
func TagRejected(alias v1alpha1.AliasStatus, message string) v1alpha1.AliasStatus {
	alias.Reason = v1alpha1.ReasonRefused
	alias.Message = "The API server rejected the Workflow that moves the tag; retrying: " + sentence(message)
	return alias
}

// TagNameConflict returns the status of an alias if a Workflow that is not the Model's has
// the name of the one that moves the tag.
func TagNameConflict(alias v1alpha1.AliasStatus, wf *wfv1.Workflow) v1alpha1.AliasStatus {
	alias.Reason = v1alpha1.ReasonWorkflowNameConflict
	alias.Message = fmt.Sprintf("Workflow %s exists and does not belong to the Model. Delete it, and set tag to false and to true again: kubectl delete wf -n %s %s", wf.Name, wf.Namespace, wf.Name)
	return alias
}
