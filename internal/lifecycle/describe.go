package lifecycle

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/internal/workflow"
)

// describe returns the metadata by which the followed Workflow says in the Argo UI why it
// has failed, or nil if that does not change. Argo's own message of such a Workflow only
// means that a retry would not help.
func describe(o Observed, v verdict, opts workflow.Options) *wfv1.Workflow {
	wf := o.Followed
	if wf == nil {
		return nil
	}
	outcome := v.Outcome
	if v.follow != wf {
		// The status is about something else, such as the next attempt.
		outcome = following(o.Version, wf, opts).Outcome
	}
	if outcome.State != StateFailed || !wf.Status.Phase.Completed() {
		return workflow.Describe(o.Version, wf, "", "")
	}
	return workflow.Describe(o.Version, wf, outcome.Reason, outcome.Message)
}
