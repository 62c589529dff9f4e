package lifecycle

import (
	"cmp"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// SelectWorkflow returns the Workflow that a ModelVersion follows: of those that
// build it, the one that was created or started last, since a retry starts an
// old one again. It returns nil when there is none. Once a Workflow was
// followed, the ones before it are history: the deletion of an attempt does not
// bring the previous one back.
func SelectWorkflow(o Observed, opts workflow.Options) *wfv1.Workflow {
	var newest *wfv1.Workflow
	for _, wf := range o.Workflows {
		if isHistory(wf, o.Version) || !builds(wf, o, opts) {
			continue
		}
		if newest == nil || startedAfter(wf, newest) {
			newest = wf
		}
	}
	return newest
}

// beyondHistoryLimit returns the finished Workflows of a ModelVersion beyond
// the limits, the oldest first. The one that the status describes does not
// count, and is never among them.
func beyondHistoryLimit(workflows []*wfv1.Workflow, described *v1alpha1.WorkflowStatus, limits workflow.History) []*wfv1.Workflow {
	var finished []*wfv1.Workflow
	for _, wf := range workflows {
		if wf.Status.Phase.Completed() && (described == nil || described.UID != string(wf.UID)) {
			finished = append(finished, wf)
		}
	}
	slices.SortFunc(finished, func(a, b *wfv1.Workflow) int {
		if startedAfter(a, b) {
			return -1
		}
		return 1
	})
	var beyond []*wfv1.Workflow
	for _, wf := range finished {
		left := &limits.Failed
		if wf.Status.Phase == wfv1.WorkflowSucceeded {
			left = &limits.Succeeded
		}
		if *left--; *left < 0 {
			beyond = append(beyond, wf)
		}
	}
	slices.Reverse(beyond)
	return beyond
}

// startedAfter reports whether Workflow a started after Workflow b. Of two that
// started in the same second, the attempt decides, and then the name.
func startedAfter(a, b *wfv1.Workflow) bool {
	ta, tb := startTime(a), startTime(b)
	if ta.Equal(&tb) {
		return cmp.Or(cmp.Compare(workflow.AttemptNumber(a), workflow.AttemptNumber(b)), cmp.Compare(a.Name, b.Name)) > 0
	}
	return tb.Before(&ta)
}

// isHistory reports whether a Workflow started before the one that the
// ModelVersion has followed. Of two that started in the same second, the attempt
// decides.
func isHistory(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion) bool {
	last, since := mv.Status.Workflow, mv.Status.StartTime
	if last == nil || since == nil || last.UID == string(wf.UID) {
		return false
	}
	started := startTime(wf)
	return started.Before(since) || started.Equal(since) && workflow.AttemptNumber(wf) < mv.Status.Attempts
}
