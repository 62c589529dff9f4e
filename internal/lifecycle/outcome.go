package lifecycle

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A State is what is true of a ModelVersion.
type State string

const (
	// StateWaiting means that the next attempt cannot start yet. No Workflow has
	// this outcome.
	StateWaiting State = "Waiting"
	// StateBuilding means that the Workflow has not finished.
	StateBuilding State = "Building"
	// StateBuilt means that the Workflow succeeded, and that its report proves
	// it.
	StateBuilt State = "Built"
	// StateFailed means that the Workflow finished in any other way.
	StateFailed State = "Failed"
)

// An Outcome is a state and why.
type Outcome struct {
	State State
	// Reason is a reason of the API.
	Reason string
	// Message is one sentence without a full stop.
	Message string
	// Report is the run's report, where it has one.
	Report report.Report
}

var reasonPattern = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,127}$`)

// WorkflowOutcome returns what a Workflow means to the ModelVersion that it
// builds. Only a success together with this run's valid report counts as built:
// Argo also marks a Workflow Succeeded that is terminated while it waits for a
// mutex, and a retried one keeps its outputs.
func WorkflowOutcome(wf *wfv1.Workflow) Outcome {
	switch wf.Status.Phase {
	case wfv1.WorkflowUnknown, wfv1.WorkflowPending:
		return Outcome{State: StateBuilding, Reason: v1alpha1.ReasonWorkflowPending, Message: pendingMessage(wf)}
	case wfv1.WorkflowRunning:
		return running(runOf(wf))
	case wfv1.WorkflowSucceeded:
		return succeeded(runOf(wf))
	case wfv1.WorkflowFailed, wfv1.WorkflowError:
		return failed(runOf(wf))
	default:
		return Outcome{
			State:   StateBuilding,
			Reason:  v1alpha1.ReasonWorkflowPhaseUnknown,
			Message: fmt.Sprintf("Workflow %s is in phase %q, which this release of Modelkiln does not support", wf.Name, sentence(string(wf.Status.Phase))),
		}
	}
}

func pendingMessage(wf *wfv1.Workflow) string {
	if wf.Status.Message == "" {
		return fmt.Sprintf("Workflow %s waits for Argo to start it", wf.Name)
	}
	return fmt.Sprintf("Workflow %s waits: %s", wf.Name, sentence(wf.Status.Message))
}

func running(wf run) Outcome {
	outcome := Outcome{State: StateBuilding, Reason: v1alpha1.ReasonWorkflowRunning, Message: runningMessage(wf)}
	retry, found := wf.retry()
	if !found {
		return outcome
	}
	// One failed try may be the last: Argo decides that only after the first
	// back-off.
	if retry.tries > 1 {
		outcome.Reason = v1alpha1.ReasonRetrying
	}
	// No try is likely to change that, and users need not wait for the last one.
	if firstMessage(retry.failed, podForbidden) != "" {
		outcome.Reason = v1alpha1.ReasonPodForbidden
	}
	if retry.pending {
		outcome.Message = fmt.Sprintf("Workflow %s may retry automatically. Try %d failed: %s", wf.Name, retry.tries, retry.cause())
	} else {
		outcome.Message = fmt.Sprintf("%s (try %d). Try %d failed: %s", outcome.Message, retry.tries, retry.tries-1, retry.cause())
	}
	return outcome
}

func runningMessage(wf run) string {
	// The pod keeps running; Argo does not look at how it ends.
	if ptr.Deref(wf.Spec.Suspend, false) {
		return fmt.Sprintf("Workflow %s is suspended. To resume it: argo resume -n %s %s", wf.Name, wf.Namespace, wf.Name)
	}
	// The containers of the pod start together, and each waits for the one
	// before it.
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		if node := wf.stepNode(step); node != nil && node.Phase == wfv1.NodeRunning {
			return fmt.Sprintf("Workflow %s runs step %s", wf.Name, step)
		}
	}
	if HidesNodes(wf.Workflow) {
		return fmt.Sprintf("Workflow %s runs. Argo keeps its steps in a database, so its progress is not known. To see them: argo get -n %s %s", wf.Name, wf.Namespace, wf.Name)
	}
	return fmt.Sprintf("Workflow %s runs", wf.Name)
}

// templatesNotReadable is part of Argo's message for a Workflow whose
// ClusterWorkflowTemplate the controller has no permission to read
// (fetchWorkflowSpec in v3.7).
const templatesNotReadable = "cannot get resource clusterWorkflowTemplate"

func succeeded(wf run) Outcome {
	run, err := wf.report()
	if err == nil {
		err = checkProof(wf.Workflow, run)
	}
	switch {
	case HidesNodes(wf.Workflow) && wf.Spec.Shutdown.Enabled():
		// The report may be that of the run before a retry.
		return shutDown(wf.Workflow, wf.Spec.Shutdown)
	case err != nil && wf.Spec.Shutdown.Enabled():
		return shutDown(wf.Workflow, wf.Spec.Shutdown)
	case err != nil:
		return Outcome{
			State:   StateFailed,
			Reason:  v1alpha1.ReasonReportInvalid,
			Message: fmt.Sprintf("Workflow %s of ClusterWorkflowTemplate %s succeeded without proof that the image was pushed: %v", wf.Name, sentence(wf.Spec.WorkflowTemplateRef.Name), err),
		}
	}
	return built(wf.Workflow, run)
}

func failed(wf run) Outcome {
	if run, proved := builtDespiteArgo(wf); proved {
		outcome := built(wf.Workflow, run)
		outcome.Message += fmt.Sprintf(". Argo could not save the logs of Workflow %s: %s", wf.Name, failureMessage(wf))
		return outcome
	}
	if outcome, found := podEnding(wf); found && !wf.Spec.Shutdown.Enabled() {
		return outcome
	}
	outcome := Outcome{State: StateFailed}
	switch run, err := wf.report(); {
	case strings.HasPrefix(wf.Status.Message, "Stopped with strategy 'Stop'"):
		outcome = shutDown(wf.Workflow, wfv1.ShutdownStrategyStop)
	case strings.HasPrefix(wf.Status.Message, "Stopped with strategy 'Terminate'"):
		outcome = shutDown(wf.Workflow, wfv1.ShutdownStrategyTerminate)
	case deadlineExceeded(wf):
		outcome.Reason = v1alpha1.ReasonDeadlineExceeded
		outcome.Message = fmt.Sprintf("Workflow %s did not finish within its deadline", wf.Name)
	case err == nil && run.Failure != nil:
		outcome.Reason = failureReason(run.Failure)
		outcome.Message = stepFailure(run.Failure)
		outcome.Report = run
	case strings.Contains(firstMessage(wf.nodes, ""), exitedBySIGTERM):
		outcome.Reason = v1alpha1.ReasonPodLost
		outcome.Message = fmt.Sprintf("The pod of Workflow %s was terminated between two steps", wf.Name)
	case strings.Contains(wf.Status.Message, templatesNotReadable):
		outcome.Reason = v1alpha1.ReasonArgoUnavailable
		outcome.Message = fmt.Sprintf("Argo's controller may not read ClusterWorkflowTemplates, as in an installation for one namespace (--namespaced), so it cannot run Workflow %s. Grant it get, list and watch on clusterworkflowtemplates, and restart it", wf.Name)
	case wf.Status.Phase == wfv1.WorkflowError:
		outcome.Reason = v1alpha1.ReasonWorkflowError
		outcome.Message = fmt.Sprintf("Argo could not run Workflow %s: %s", wf.Name, failureMessage(wf))
	default:
		outcome.Reason = v1alpha1.ReasonWorkflowFailed
		outcome.Message = fmt.Sprintf("Workflow %s failed: %s", wf.Name, failureMessage(wf))
	}
	return outcome
}

// shutDown returns the outcome of a Workflow that a user stopped or terminated.
func shutDown(wf *wfv1.Workflow, strategy wfv1.ShutdownStrategy) Outcome {
	if strategy == wfv1.ShutdownStrategyStop {
		return Outcome{State: StateFailed, Reason: v1alpha1.ReasonWorkflowStopped, Message: fmt.Sprintf("Workflow %s was stopped", wf.Name)}
	}
	return Outcome{State: StateFailed, Reason: v1alpha1.ReasonWorkflowTerminated, Message: fmt.Sprintf("Workflow %s was terminated", wf.Name)}
}

// stepFailure returns what a step reported as its failure.
func stepFailure(failure *report.Failure) string {
	return fmt.Sprintf("Step %s: %s", sentence(failure.Step), sentence(failure.Message))
}

// failureReason returns a step's reason. A user's own template may report one
// that a condition cannot have.
func failureReason(failure *report.Failure) string {
	if reasonPattern.MatchString(failure.Reason) {
		return failure.Reason
	}
	return v1alpha1.ReasonWorkflowFailed
}

// failureMessage returns why a Workflow failed. Its own message usually says no
// more than that a child did.
func failureMessage(wf run) string {
	return cmp.Or(firstMessage(wf.nodes, ""), sentence(wf.Status.Message), noMessage)
}

// deadlineExceeded recognizes the messages of Argo and of kubelet, to which
// Argo passes the remaining time: either may notice first.
func deadlineExceeded(wf run) bool {
	for _, node := range wf.nodes {
		argo := strings.Contains(node.Message, "exceeded its deadline") || strings.Contains(node.Message, "retry exceeded workflow deadline")
		kubelet := strings.Contains(node.Message, "longer than the specified deadline")
		if node.FailedOrError() && (argo || kubelet) {
			return true
		}
	}
	return false
}

// podForbidden is part of the API server's message for a pod that a namespace
// does not admit.
const podForbidden = " is forbidden: "

// podEndings are parts of the messages of the API server, kubelet, and the
// controllers of nodes and of Argo for a pod that was not created, or that was
// ended from outside. Argo repeats them in the messages of nodes
// (inferFailedReason in v3.7). format takes the name of the Workflow.
var podEndings = []struct{ contains, reason, format string }{
	{"OOMKilled", v1alpha1.ReasonOutOfMemory, "Workflow %s ran out of memory"},
	{"The node was low on resource", v1alpha1.ReasonEvicted, evicted},
	{"ephemeral local storage usage exceeds", v1alpha1.ReasonEvicted, evicted},
	{"exceeded its local ephemeral storage limit", v1alpha1.ReasonEvicted, evicted},
	{"Usage of EmptyDir volume", v1alpha1.ReasonEvicted, evicted},
	{"pod deleted", v1alpha1.ReasonPodLost, podLost},
	{"imminent node shutdown", v1alpha1.ReasonPodLost, podLost},
	{"Preempted in order to admit critical pod", v1alpha1.ReasonPodLost, podLost},
	{podForbidden, v1alpha1.ReasonPodForbidden, "Workflow %s is not allowed to create its pod"},
}

const (
	evicted = "The pod of Workflow %s was evicted"
	podLost = "The pod of Workflow %s was lost"
)

// podEnding returns the outcome of a Workflow whose pod, or a container of it,
// was ended from outside, and false for any other.
func podEnding(wf run) (Outcome, bool) {
	for _, ending := range podEndings {
		if message := firstMessage(wf.nodes, ending.contains); message != "" {
			return Outcome{State: StateFailed, Reason: ending.reason, Message: fmt.Sprintf(ending.format, wf.Name) + ": " + message}, true
		}
	}
	return Outcome{}, false
}
