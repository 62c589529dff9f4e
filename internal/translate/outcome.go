package translate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// State is what a Workflow means to the version that it builds.
type State string

const (
	// StateBuilding says that the Workflow has not ended.
	StateBuilding State = "Building"
	// StateBuilt says that the Workflow succeeded, and its report proves it.
	StateBuilt State = "Built"
	// StateFailed says that the Workflow ended in any other way.
	StateFailed State = "Failed"
)

// Outcome is the answer to the one question that is asked of a Workflow.
type Outcome struct {
	State State
	// Reason is a reason of the API.
	Reason string
	// Message is one sentence, without a full stop.
	Message string
	// Report is the run's report, where it has one.
	Report report.Report
}

var (
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	reasonPattern = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,127}$`)
)

// WorkflowOutcome says what a Workflow means to the version that it builds.
// Nothing but a success together with this run's valid report counts as
// built: Argo marks a Workflow Succeeded too when it is terminated while it
// waits for a lock, and a retried one keeps its outputs.
func WorkflowOutcome(wf *wfv1.Workflow) Outcome {
	switch wf.Status.Phase {
	case wfv1.WorkflowUnknown, wfv1.WorkflowPending:
		return Outcome{State: StateBuilding, Reason: v1alpha1.ReasonWorkflowPending, Message: pendingMessage(wf)}
	case wfv1.WorkflowRunning:
		return running(wf)
	case wfv1.WorkflowSucceeded:
		return succeeded(wf)
	case wfv1.WorkflowFailed, wfv1.WorkflowError:
		return failed(wf)
	default:
		return Outcome{
			State:   StateBuilding,
			Reason:  v1alpha1.ReasonWorkflowPhaseUnknown,
			Message: fmt.Sprintf("Workflow %s is in phase %q, which this release of Modelkiln does not know", wf.Name, wf.Status.Phase),
		}
	}
}

func pendingMessage(wf *wfv1.Workflow) string {
	if wf.Status.Message == "" {
		return fmt.Sprintf("Workflow %s waits for Argo to start it", wf.Name)
	}
	return fmt.Sprintf("Workflow %s waits: %s", wf.Name, sentence(wf.Status.Message))
}

func running(wf *wfv1.Workflow) Outcome {
	outcome := Outcome{State: StateBuilding, Reason: v1alpha1.ReasonWorkflowRunning, Message: runningMessage(wf)}
	retry, found := retryOf(wf)
	if !found {
		return outcome
	}
	// One try that failed may be the end: Argo decides that only after it has
	// waited for the first time.
	if retry.tries > 1 {
		outcome.Reason = v1alpha1.ReasonRetrying
	}
	// Hardly any try will change that, and people need not wait for the last.
	if firstWords(retry.failed, podForbidden) != "" {
		outcome.Reason = v1alpha1.ReasonPodForbidden
	}
	if retry.waits {
		outcome.Message = fmt.Sprintf("Workflow %s may try again by itself. Try %d failed: %s", wf.Name, retry.tries, retry.why())
	} else {
		outcome.Message = fmt.Sprintf("%s (try %d). Try %d failed: %s", outcome.Message, retry.tries, retry.tries-1, retry.why())
	}
	return outcome
}

func runningMessage(wf *wfv1.Workflow) string {
	// What runs in the pod goes on; Argo does not look at how it ends.
	if ptr.Deref(wf.Spec.Suspend, false) {
		return fmt.Sprintf("Workflow %s is suspended. To let it go on: argo resume -n %s %s", wf.Name, wf.Namespace, wf.Name)
	}
	// The containers of the pod start together, and each waits for the one
	// before it.
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		if node := stepNode(wf, step); node != nil && node.Phase == wfv1.NodeRunning {
			return fmt.Sprintf("Workflow %s runs step %s", wf.Name, step)
		}
	}
	return fmt.Sprintf("Workflow %s runs", wf.Name)
}

func stepNode(wf *wfv1.Workflow, step string) *wfv1.NodeStatus {
	for _, node := range latestNodes(wf) {
		if node.Type == wfv1.NodeTypeContainer && node.DisplayName == step {
			return &node
		}
	}
	return nil
}

func succeeded(wf *wfv1.Workflow) Outcome {
	run, err := runReport(wf)
	if err == nil {
		err = proof(wf, run)
	}
	switch {
	case err != nil && wf.Spec.Shutdown.Enabled():
		return shutDown(wf, wf.Spec.Shutdown)
	case err != nil:
		return Outcome{
			State:   StateFailed,
			Reason:  v1alpha1.ReasonReportInvalid,
			Message: fmt.Sprintf("Workflow %s of ClusterWorkflowTemplate %s ended without proof that the image was pushed: %v", wf.Name, wf.Spec.WorkflowTemplateRef.Name, err),
		}
	}
	return Outcome{
		State:   StateBuilt,
		Reason:  v1alpha1.ReasonSucceeded,
		Message: fmt.Sprintf("Image %s is in the registry and was verified there", run.Image.Reference),
		Report:  run,
	}
}

// proof is nil when the report shows that this Workflow pushed, or found
// there, the image that it was asked for.
func proof(wf *wfv1.Workflow, run report.Report) error {
	root, found := wf.Status.Nodes[wf.Name]
	switch {
	case !found || root.Phase != wfv1.NodeSucceeded:
		return fmt.Errorf("it did not run to its end")
	case run.Failure != nil:
		return fmt.Errorf("step %s reported a failure: %s", sentence(run.Failure.Step), sentence(run.Failure.Message))
	case run.Run.Image != argument(wf, contract.ParamImage):
		return fmt.Errorf("its report is on another image, %q", sentence(run.Run.Image))
	case run.Run.ModelVersionUID != argument(wf, contract.ParamModelVersionUID):
		return fmt.Errorf("its report is on another ModelVersion")
	case run.Source == nil || run.Image == nil:
		return fmt.Errorf("its report does not say what was packaged and pushed")
	case run.Source.Files < 0 || run.Source.Bytes < 0 || run.Image.Bytes < 0:
		return fmt.Errorf("its report counts less than nothing")
	}
	return imageProof(run.Run.Image, run.Image)
}

// imageProof says what a report lacks that is to prove that the registry holds an
// image; nil when it proves that.
func imageProof(asked string, image *report.Image) error {
	switch {
	case image.Reference != asked:
		return fmt.Errorf("its report names %q as what the registry holds", sentence(image.Reference))
	case !digestPattern.MatchString(image.Digest):
		return fmt.Errorf("its report holds no digest")
	case image.PullSecret != "" && len(validation.IsDNS1123Subdomain(image.PullSecret)) > 0:
		return fmt.Errorf("its report names %q as a Secret", sentence(image.PullSecret))
	}
	return nil
}

func failed(wf *wfv1.Workflow) Outcome {
	if outcome, found := endedFromOutside(wf); found && !wf.Spec.Shutdown.Enabled() {
		return outcome
	}
	outcome := Outcome{State: StateFailed}
	switch run, err := runReport(wf); {
	case strings.HasPrefix(wf.Status.Message, "Stopped with strategy 'Stop'"):
		outcome = shutDown(wf, wfv1.ShutdownStrategyStop)
	case strings.HasPrefix(wf.Status.Message, "Stopped with strategy 'Terminate'"):
		outcome = shutDown(wf, wfv1.ShutdownStrategyTerminate)
	case deadlineExceeded(wf):
		outcome.Reason = v1alpha1.ReasonDeadlineExceeded
		outcome.Message = fmt.Sprintf("Workflow %s did not finish within its deadline", wf.Name)
	case err == nil && run.Failure != nil:
		outcome.Reason = failureReason(run.Failure)
		outcome.Message = stepFailure(run.Failure)
		outcome.Report = run
	case strings.Contains(firstWords(latestNodes(wf), ""), toldToEnd):
		outcome.Reason = v1alpha1.ReasonPodLost
		outcome.Message = fmt.Sprintf("Workflow %s lost its pod, which was told to end between two steps", wf.Name)
	case wf.Status.Phase == wfv1.WorkflowError:
		outcome.Reason = v1alpha1.ReasonWorkflowError
		outcome.Message = fmt.Sprintf("Argo could not run Workflow %s: %s", wf.Name, cause(wf))
	default:
		outcome.Reason = v1alpha1.ReasonWorkflowFailed
		outcome.Message = fmt.Sprintf("Workflow %s failed: %s", wf.Name, cause(wf))
	}
	return outcome
}

// toldToEnd are Argo's words for a container that had SIGTERM before its step
// began: a step that has begun says in its report that it was stopped. Where
// another container failed, the rest of the pod may be told to end for that.
const toldToEnd = "Error (exit code 143)"

// shutDown is the outcome of a Workflow that a person ended.
func shutDown(wf *wfv1.Workflow, strategy wfv1.ShutdownStrategy) Outcome {
	if strategy == wfv1.ShutdownStrategyStop {
		return Outcome{State: StateFailed, Reason: v1alpha1.ReasonWorkflowStopped, Message: fmt.Sprintf("Workflow %s was stopped", wf.Name)}
	}
	return Outcome{State: StateFailed, Reason: v1alpha1.ReasonWorkflowTerminated, Message: fmt.Sprintf("Workflow %s was terminated", wf.Name)}
}

// stepFailure is what a step says that went wrong.
func stepFailure(failure *report.Failure) string {
	return fmt.Sprintf("Step %s: %s", sentence(failure.Step), sentence(failure.Message))
}

// failureReason is a step's reason. A template of somebody else's may say what
// no condition can have as its reason.
func failureReason(failure *report.Failure) string {
	if reasonPattern.MatchString(failure.Reason) {
		return failure.Reason
	}
	return v1alpha1.ReasonWorkflowFailed
}

// deadlineExceeded recognizes the words of whoever notices first that the time
// is up: Argo, or kubelet, since Argo gives the pod the time that is left.
func deadlineExceeded(wf *wfv1.Workflow) bool {
	for _, node := range latestNodes(wf) {
		argo := strings.Contains(node.Message, "exceeded its deadline") || strings.Contains(node.Message, "retry exceeded workflow deadline")
		kubelet := strings.Contains(node.Message, "longer than the specified deadline")
		if node.FailedOrError() && (argo || kubelet) {
			return true
		}
	}
	return false
}

// podForbidden are the API server's words for a pod that a namespace does not
// take.
const podForbidden = " is forbidden: "

// podEnds are the words of the API server, kubelet, the node's or Argo's
// controllers for a pod that was not made, or for a pod or container that did
// not end by itself, and what they mean. Argo passes them on in the messages of
// nodes (inferFailedReason in v3.7).
var podEnds = []struct{ words, reason, what string }{
	{"OOMKilled", v1alpha1.ReasonOutOfMemory, "ran out of memory"},
	{"The node was low on resource", v1alpha1.ReasonEvicted, "was evicted"},
	{"ephemeral local storage usage exceeds", v1alpha1.ReasonEvicted, "was evicted"},
	{"exceeded its local ephemeral storage limit", v1alpha1.ReasonEvicted, "was evicted"},
	{"Usage of EmptyDir volume", v1alpha1.ReasonEvicted, "was evicted"},
	{"pod deleted", v1alpha1.ReasonPodLost, "lost its pod"},
	{"imminent node shutdown", v1alpha1.ReasonPodLost, "lost its pod"},
	{"Preempted in order to admit critical pod", v1alpha1.ReasonPodLost, "lost its pod"},
	{podForbidden, v1alpha1.ReasonPodForbidden, "may not make its pod"},
}

// endedFromOutside is the outcome of a build whose pod, or a container of it,
// did not end by itself, and false for one that did.
func endedFromOutside(wf *wfv1.Workflow) (Outcome, bool) {
	for _, end := range podEnds {
		if words := firstWords(latestNodes(wf), end.words); words != "" {
			message := fmt.Sprintf("Workflow %s %s: %s", wf.Name, end.what, words)
			return Outcome{State: StateFailed, Reason: end.reason, Message: message}, true
		}
	}
	return Outcome{}, false
}

// cause is what to say of a Workflow that failed. Its own message usually says
// no more than that a child did.
func cause(wf *wfv1.Workflow) string {
	return cmp.Or(firstWords(latestNodes(wf), ""), sentence(wf.Status.Message), "it gives no message")
}

// firstWords is the message of the first of these pods and containers that failed and whose
// message holds these words, or "". One that did not run, since the one before
// it failed, comes last.
func firstWords(nodes []wfv1.NodeStatus, words string) string {
	var having []wfv1.NodeStatus
	for _, node := range nodes {
		isPod := node.Type == wfv1.NodeTypePod || node.Type == wfv1.NodeTypeContainer
		if isPod && node.FailedOrError() && node.Message != "" && strings.Contains(node.Message, words) {
			having = append(having, node)
		}
	}
	if len(having) == 0 {
		return ""
	}
	first := slices.MinFunc(having, func(a, b wfv1.NodeStatus) int {
		return cmp.Or(blamesAnother(a)-blamesAnother(b), a.FinishedAt.Compare(b.FinishedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	return sentence(first.Message)
}

// blamesAnother is 1 when a node failed for another's failure, or may have, and 0
// otherwise.
func blamesAnother(node wfv1.NodeStatus) int {
	dependent := strings.Contains(node.Message, "dependency") && strings.Contains(node.Message, "exited with non-zero code")
	if dependent || strings.Contains(node.Message, toldToEnd) {
		return 1
	}
	return 0
}

// runReport is the report that this Workflow's run left. A report that names
// another Workflow was carried over by a memoized resubmit and is none.
func runReport(wf *wfv1.Workflow) (report.Report, error) {
	text := reportText(wf)
	if text == "" {
		return report.Report{}, fmt.Errorf("it left no report")
	}
	run, err := report.Parse(text)
	if err != nil {
		return report.Report{}, fmt.Errorf("its report cannot be read")
	}
	if run.Run.WorkflowUID != string(wf.UID) {
		return report.Report{}, fmt.Errorf("its report is another Workflow's")
	}
	return run, nil
}

// reportText is the Workflow's report output, where it is of the latest try. A
// Workflow that is retried keeps its outputs until it has new ones, but not
// the nodes that they came from; one that tries again by itself keeps both.
func reportText(wf *wfv1.Workflow) string {
	text := ""
	for _, parameter := range outputs(wf.Status.Outputs) {
		if parameter.Name == contract.OutputReport && parameter.Value != nil {
			text = parameter.Value.String()
		}
	}
	for _, node := range latestNodes(wf) {
		for _, parameter := range outputs(node.Outputs) {
			if parameter.GlobalName == contract.OutputReport && parameter.Value != nil && parameter.Value.String() == text {
				return text
			}
		}
	}
	return ""
}

func outputs(o *wfv1.Outputs) []wfv1.Parameter {
	if o == nil {
		return nil
	}
	return o.Parameters
}

func argument(wf *wfv1.Workflow, name string) string {
	for _, parameter := range wf.Spec.Arguments.Parameters {
		if parameter.Name == name && parameter.Value != nil {
			return parameter.Value.String()
		}
	}
	return ""
}

// maxSentence keeps what others wrote from filling the status.
const maxSentence = 500

// sentence makes one line of a message that somebody else wrote.
func sentence(message string) string {
	line := strings.Join(strings.Fields(message), " ")
	line = strings.TrimRight(line, ".: ")
	if runes := []rune(line); len(runes) > maxSentence {
		line = string(runes[:maxSentence-1]) + "…"
	}
	return line
}
