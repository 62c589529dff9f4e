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
//
// The API server's clock tells when a Workflow was created, Argo's when it was started,
// and that of a user's machine when it was retried. What no clock need tell has
// precedence: see precedence.
func SelectWorkflow(o Observed, opts workflow.Options) *wfv1.Workflow {
	var newest *wfv1.Workflow
	for _, wf := range o.Workflows {
		if isHistory(wf, o.Version) || !builds(wf, o, opts) {
			continue
		}
		if newest == nil || supersedes(wf, newest, o.Version) {
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

// supersedes reports whether Workflow a is a newer attempt of a ModelVersion than
// Workflow b.
func supersedes(a, b *wfv1.Workflow, mv *v1alpha1.ModelVersion) bool {
	if pa, pb := precedence(a, mv), precedence(b, mv); pa != pb {
		return pa > pb
	}
	return startedAfter(a, b)
}

// precedence returns what a Workflow is to a ModelVersion that has followed another one,
// as far as it is known without comparing the times of two clocks: 2 for one that was
// created after all that were followed, 1 for one that runs again although the followed
// one has finished, and 0 for any other.
func precedence(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion) int {
	last, latest := mv.Status.Workflow, mv.Status.LatestAttemptTime
	switch {
	case last == nil || latest == nil || last.UID == string(wf.UID):
		return 0
	case latest.Before(&wf.CreationTimestamp):
		return 2
	case wf.Status.Phase == wfv1.WorkflowRunning && mv.Status.FinishTime != nil:
		return 1
	default:
		return 0
	}
}

// isHistory reports whether a Workflow started before the one that the
// ModelVersion has followed. Of two that started in the same second, the attempt
// decides.
func isHistory(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion) bool {
	last, since := mv.Status.Workflow, mv.Status.StartTime
	if last == nil || since == nil || last.UID == string(wf.UID) || precedence(wf, mv) > 0 {
		return false
	}
	started := startTime(wf)
	return started.Before(since) || started.Equal(since) && workflow.AttemptNumber(wf) < mv.Status.Attempts
}
