package builders

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Digest is the digest of the images that Succeeded reports as pushed.
const Digest = "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"

// The messages that Argo writes.
const (
	messageNoRetry  = "retryStrategy.expression evaluated to false"
	messageBackoff  = "Backoff for 5 seconds"
	messageLock     = "Waiting for %s/Mutex/%s lock. Lock status: 0/1"
	messageDeadline = "Pod was active on the node longer than the specified deadline"
)

// steps are the containers of a build's pod, in their order.
var steps = []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport, "main"}

// WorkflowWrapper plays Argo: it takes a Workflow of the operator through its
// life, with the messages that Argo writes (v3.7). Each method stands for one
// thing that Argo, or a user with Argo, does.
type WorkflowWrapper struct{ wf *wfv1.Workflow }

// MakeWorkflow returns the Workflow of a ModelVersion's attempt, as the
// operator creates it by default and the API server stores it. The ModelVersion
// must be valid.
func MakeWorkflow(mv *v1alpha1.ModelVersion, attempt int64) *WorkflowWrapper {
	wf, problem := workflow.New(mv, workflow.Attempt{Number: attempt}, config.Default().Options())
	if problem != nil {
		panic(problem)
	}
	wf.UID = types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", attempt))
	wf.CreationTimestamp = mv.CreationTimestamp
	return &WorkflowWrapper{wf}
}

// FromWorkflow continues from a Workflow, such as one that a test found in the
// cluster.
func FromWorkflow(wf *wfv1.Workflow) *WorkflowWrapper {
	return &WorkflowWrapper{wf.DeepCopy()}
}

// Obj returns the Workflow.
func (w *WorkflowWrapper) Obj() *wfv1.Workflow { return w.wf.DeepCopy() }

// UID sets the Workflow's UID.
func (w *WorkflowWrapper) UID(uid types.UID) *WorkflowWrapper {
	w.wf.UID = uid
	return w
}

// Created sets when the Workflow was created.
func (w *WorkflowWrapper) Created(at time.Time) *WorkflowWrapper {
	w.wf.CreationTimestamp = metav1.NewTime(at)
	return w
}

// Argument sets an argument, as argo resubmit -p does.
func (w *WorkflowWrapper) Argument(name, value string) *WorkflowWrapper {
	for i := range w.wf.Spec.Arguments.Parameters {
		if p := &w.wf.Spec.Arguments.Parameters[i]; p.Name == name {
			p.Value = wfv1.AnyStringPtr(value)
			return w
		}
	}
	w.wf.Spec.Arguments.Parameters = append(w.wf.Spec.Arguments.Parameters, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(value)})
	return w
}

// WaitingForLock has another build of the same image hold the lock.
func (w *WorkflowWrapper) WaitingForLock() *WorkflowWrapper {
	return w.Pending(fmt.Sprintf(messageLock, w.wf.Namespace, w.argument(contract.ParamImage)))
}

// Pending has Argo hold the Workflow back.
func (w *WorkflowWrapper) Pending(message string) *WorkflowWrapper {
	w.wf.Status.Phase, w.wf.Status.Message = wfv1.WorkflowPending, message
	return w
}

// Running has a step run; those before it have succeeded. The containers of
// those after it run too, and wait. An empty name means that the pod has not
// started.
func (w *WorkflowWrapper) Running(step string) *WorkflowWrapper {
	w.start(wfv1.WorkflowRunning)
	phase := wfv1.NodeSucceeded
	if step == "" {
		phase = wfv1.NodePending
	}
	for _, name := range steps {
		if name == step {
			phase = wfv1.NodeRunning
		}
		w.container(name, phase, "")
	}
	if step == "" {
		w.pod(wfv1.NodePending, "PodInitializing")
		return w
	}
	w.pod(wfv1.NodeRunning, "")
	return w
}

// FailedTry has a pod fail with a transient failure and leave this report. Argo
// waits before it creates another pod; what comes next is about that one.
func (w *WorkflowWrapper) FailedTry(r report.Report) *WorkflowWrapper {
	r.Failure.Transient = true
	return w.Failed(r).waitsForNextTry()
}

// waitsForNextTry has the Workflow retry after its last pod failed.
func (w *WorkflowWrapper) waitsForNextTry() *WorkflowWrapper {
	w.wf.Status.Phase, w.wf.Status.Message, w.wf.Status.FinishedAt = wfv1.WorkflowRunning, "", metav1.Time{}
	retry := w.wf.Status.Nodes[w.wf.Name]
	retry.Phase, retry.Message, retry.FinishedAt = wfv1.NodeRunning, messageBackoff, metav1.Time{}
	w.wf.Status.Nodes[w.wf.Name] = retry
	return w
}

// Progress sets how much of its work the latest pod has reported, as N/M.
func (w *WorkflowWrapper) Progress(reported string) *WorkflowWrapper {
	pod := w.wf.Status.Nodes[PodNode(w.wf)]
	pod.Progress = wfv1.Progress(reported)
	w.wf.Status.Nodes[pod.ID] = pod
	return w
}

// Succeeded has the build succeed and leave this report.
func (w *WorkflowWrapper) Succeeded(r report.Report) *WorkflowWrapper {
	w.start(wfv1.WorkflowSucceeded)
	for _, name := range steps {
		w.container(name, wfv1.NodeSucceeded, "")
	}
	w.pod(wfv1.NodeSucceeded, "")
	w.finish()
	return w.Reported(r)
}

// Failed has a step fail and leave this report.
func (w *WorkflowWrapper) Failed(r report.Report) *WorkflowWrapper {
	return w.FailedWithoutReport(r.Failure.Step).Reported(r)
}

// FailedWithoutReport has a step fail before it could report why, such as for
// lack of memory. Those after it did not run; Argo's message for the pod may be
// theirs.
func (w *WorkflowWrapper) FailedWithoutReport(step string) *WorkflowWrapper {
	w.start(wfv1.WorkflowFailed)
	phase, last := wfv1.NodeSucceeded, ""
	for _, name := range steps {
		switch {
		case name == step:
			phase, last = wfv1.NodeFailed, fmt.Sprintf("%s: Error (exit code 1): ", name)
		case phase != wfv1.NodeSucceeded:
			phase, last = wfv1.NodeError, fmt.Sprintf("%s: Error (exit code 64): dependency %q exited with non-zero code: 1", name, step)
		}
		w.container(name, phase, last)
	}
	w.pod(wfv1.NodeFailed, last)
	w.wf.Status.Message = messageNoRetry
	return w.finish()
}

// Stopped has a user run argo stop.
func (w *WorkflowWrapper) Stopped() *WorkflowWrapper {
	return w.shutdown(wfv1.ShutdownStrategyStop)
}

// Terminated has a user, or the operator, run argo terminate.
func (w *WorkflowWrapper) Terminated() *WorkflowWrapper {
	return w.shutdown(wfv1.ShutdownStrategyTerminate)
}

// TerminatedWhileWaitingForLock has a user run argo terminate before the build has
// the lock: Argo marks the Workflow Succeeded.
func (w *WorkflowWrapper) TerminatedWhileWaitingForLock() *WorkflowWrapper {
	w.wf.Spec.Shutdown = wfv1.ShutdownStrategyTerminate
	w.start(wfv1.WorkflowSucceeded)
	return w.finish()
}

// DeadlineExceeded has the build exceed its deadline, as kubelet notices it.
func (w *WorkflowWrapper) DeadlineExceeded() *WorkflowWrapper {
	w.start(wfv1.WorkflowFailed)
	w.container(contract.StepMountCheck, wfv1.NodeSucceeded, "")
	w.container(contract.StepBuild, wfv1.NodeFailed, "Pod Failed whilst container running")
	w.pod(wfv1.NodeFailed, messageDeadline)
	w.wf.Status.Message = messageNoRetry
	return w.finish()
}

// Errored has Argo fail to run the Workflow.
func (w *WorkflowWrapper) Errored(message string) *WorkflowWrapper {
	w.start(wfv1.WorkflowError)
	w.wf.Status.Message = message
	return w.finish()
}

// FailedWithoutPod has the API server reject the pod of the last retry with
// this message.
func (w *WorkflowWrapper) FailedWithoutPod(message string) *WorkflowWrapper {
	w.start(wfv1.WorkflowError)
	w.pod(wfv1.NodeError, "task '"+w.latestTry()+podTask+"' errored: "+message)
	w.wf.Status.Message = "No more retries left"
	return w.finish()
}

// TryFailedWithoutPod has the API server reject a pod with this message, after
// which Argo waits before the next retry.
func (w *WorkflowWrapper) TryFailedWithoutPod(message string) *WorkflowWrapper {
	return w.FailedWithoutPod(message).waitsForNextTry()
}

// Retried has a user run argo retry: the same Workflow runs again. It keeps its
// outputs until it has new ones.
func (w *WorkflowWrapper) Retried(at time.Time) *WorkflowWrapper {
	w.wf.Spec.Shutdown = ""
	w.wf.Status.Phase, w.wf.Status.Message = wfv1.WorkflowRunning, ""
	w.wf.Status.StartedAt, w.wf.Status.FinishedAt = metav1.NewTime(at), metav1.Time{}
	w.wf.Status.Nodes = nil
	return w
}

// Resubmitted returns the Workflow that argo resubmit creates: another with its
// labels, annotations, owner and arguments, which has not run.
func (w *WorkflowWrapper) Resubmitted(suffix string, at time.Time) *WorkflowWrapper {
	wf := w.wf.DeepCopy()
	metav1.SetMetaDataLabel(&wf.ObjectMeta, "workflows.argoproj.io/resubmitted-from-workflow", wf.Name)
	wf.GenerateName, wf.Name = wf.Name+"-", wf.Name+"-"+suffix
	wf.UID = types.UID("00000000-0000-4000-9000-0000000" + suffix)
	wf.CreationTimestamp = metav1.NewTime(at)
	wf.Spec.Shutdown = ""
	wf.Status = wfv1.WorkflowStatus{}
	return &WorkflowWrapper{wf}
}

// Reported sets a report as the output of the pod and of the Workflow.
func (w *WorkflowWrapper) Reported(r report.Report) *WorkflowWrapper {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	value := wfv1.AnyStringPtr(string(raw))
	if pod, found := w.wf.Status.Nodes[PodNode(w.wf)]; found {
		pod.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: contract.OutputReport, GlobalName: contract.OutputReport, Value: value}}}
		w.wf.Status.Nodes[pod.ID] = pod
	}
	w.wf.Status.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: contract.OutputReport, Value: value}}}
	return w
}

// Report returns the report of a build that succeeded: seven files in the
// registry.
func (w *WorkflowWrapper) Report() report.Report {
	image := w.argument(contract.ParamImage)
	return report.Report{
		Run:    report.Run{WorkflowUID: string(w.wf.UID), ModelVersionUID: w.argument(contract.ParamModelVersionUID), Image: image},
		Source: &report.Source{Files: 7, Bytes: 52428800, Layers: 2},
		Build:  &report.Build{},
		Image:  &report.Image{Reference: image, Digest: Digest, Bytes: 41943040, Layers: 3, ModelPath: w.argument(contract.ParamModelPath)},
	}
}

// FailureReport returns the report of a build in which a step failed.
func (w *WorkflowWrapper) FailureReport(step, reason, message string) report.Report {
	r := w.Report()
	r.Image = nil
	if step != contract.StepStatusReport {
		r.Build = nil
	}
	if step == contract.StepMountCheck {
		r.Source = nil
	}
	r.Failure = &report.Failure{Step: step, Reason: reason, Message: message}
	return r
}

func (w *WorkflowWrapper) shutdown(strategy wfv1.ShutdownStrategy) *WorkflowWrapper {
	w.wf.Spec.Shutdown = strategy
	w.start(wfv1.WorkflowFailed)
	message := fmt.Sprintf("workflow shutdown with strategy:  %s", strategy)
	for _, name := range steps {
		w.container(name, wfv1.NodeFailed, message)
	}
	w.pod(wfv1.NodeFailed, message)
	w.wf.Status.Message = fmt.Sprintf("Stopped with strategy '%s'", strategy)
	return w.finish()
}

// PodNode returns the ID of the node of a Workflow's latest pod, or an empty
// string if it has none.
func PodNode(wf *wfv1.Workflow) string {
	tries := wf.Status.Nodes[wf.Name].Children
	if len(tries) == 0 {
		return ""
	}
	return wf.Status.Nodes[tries[len(tries)-1]].Children[0]
}

// start starts the Workflow, with another pod if the one before has failed.
func (w *WorkflowWrapper) start(phase wfv1.WorkflowPhase) {
	retry := w.wf.Status.Nodes[w.wf.Name]
	if pod := w.wf.Status.Nodes[PodNode(w.wf)]; pod.Phase.FailedOrError() && phase != wfv1.WorkflowError {
		w.begin(retry)
	}
	w.wf.Status.Phase, w.wf.Status.Message = phase, ""
	if w.wf.Status.StartedAt.IsZero() {
		w.wf.Status.StartedAt = metav1.NewTime(w.wf.CreationTimestamp.Add(time.Second))
	}
}

func (w *WorkflowWrapper) finish() *WorkflowWrapper {
	w.wf.Status.FinishedAt = metav1.NewTime(w.wf.Status.StartedAt.Add(20 * time.Second))
	for id, node := range w.wf.Status.Nodes {
		node.FinishedAt = w.wf.Status.FinishedAt
		w.wf.Status.Nodes[id] = node
	}
	return w
}

// begin adds the nodes of another retry.
func (w *WorkflowWrapper) begin(retry wfv1.NodeStatus) {
	try := w.try(len(retry.Children))
	retry.Children = append(retry.Children, w.wf.NodeID(try))
	w.node(retry)
	w.node(wfv1.NodeStatus{
		Name: try, DisplayName: try, Type: wfv1.NodeTypeDAG, Phase: wfv1.NodeRunning,
		Children: []string{w.wf.NodeID(try + podTask)}, NodeFlag: &wfv1.NodeFlag{Retried: true},
	})
}

// podTask is what the name of a pod's node adds to that of its retry.
const podTask = ".pod"

// try returns the name of the node of a retry, counted from 0.
func (w *WorkflowWrapper) try(number int) string { return fmt.Sprintf("%s(%d)", w.wf.Name, number) }

// pod sets the node of the latest pod, that of its retry, and the one that
// stands for all retries.
func (w *WorkflowWrapper) pod(phase wfv1.NodePhase, message string) {
	w.node(wfv1.NodeStatus{
		Name: w.latestTry() + podTask, DisplayName: "pod", Type: wfv1.NodeTypePod,
		BoundaryID: w.wf.NodeID(w.latestTry()), Phase: phase, Message: message,
		Children: []string{w.wf.NodeID(w.latestTry() + podTask + "." + steps[0])},
	})
	around := phase
	if phase == wfv1.NodePending {
		around = wfv1.NodeRunning
	}
	retry := wfv1.NodeStatus{Name: w.wf.Name, DisplayName: w.wf.Name, Type: wfv1.NodeTypeRetry, Children: w.wf.Status.Nodes[w.wf.Name].Children}
	if len(retry.Children) == 0 {
		w.begin(retry)
		retry = w.wf.Status.Nodes[w.wf.Name]
	}
	try := w.wf.Status.Nodes[w.wf.NodeID(w.latestTry())]
	try.Phase, retry.Phase = around, around
	if phase == wfv1.NodeFailed {
		retry.Message = messageNoRetry
	}
	w.node(try)
	w.node(retry)
}

// container sets the node of a container, which is a child of the node of the
// one before it, or of the pod's node.
func (w *WorkflowWrapper) container(name string, phase wfv1.NodePhase, message string) {
	pod := w.latestTry() + podTask
	next := slices.Index(steps, name) + 1
	node := wfv1.NodeStatus{
		Name: pod + "." + name, DisplayName: name, Type: wfv1.NodeTypeContainer,
		BoundaryID: w.wf.NodeID(pod), Phase: phase, Message: message,
	}
	if next < len(steps) {
		node.Children = []string{w.wf.NodeID(pod + "." + steps[next])}
	}
	w.node(node)
}

func (w *WorkflowWrapper) latestTry() string {
	return w.try(max(0, len(w.wf.Status.Nodes[w.wf.Name].Children)-1))
}

func (w *WorkflowWrapper) node(node wfv1.NodeStatus) {
	if w.wf.Status.Nodes == nil {
		w.wf.Status.Nodes = wfv1.Nodes{}
	}
	node.ID = w.wf.NodeID(node.Name)
	node.StartedAt = w.wf.Status.StartedAt
	w.wf.Status.Nodes[node.ID] = node
}

func (w *WorkflowWrapper) argument(name string) string {
	for _, p := range w.wf.Spec.Arguments.Parameters {
		if p.Name == name && p.Value != nil {
			return p.Value.String()
		}
	}
	return ""
}
