package lifecycle_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

func makeWorkflow() *builders.WorkflowWrapper {
	return builders.MakeWorkflow(builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj(), 1)
}

// signature is what a report says of a signature.
func signature() *report.Signature {
	return &report.Signature{Secret: "modelkiln-signing", KeyID: builders.Digest, Formats: []string{"Bundle", "Tag"}, Attestations: []string{"Files", "Provenance", "Training"}, Bundle: "{}"}
}

// signs adds a signature to a report, and changes it.
func signs(change func(s *report.Signature)) func(*report.Report) {
	return func(r *report.Report) {
		r.Image.Signature = signature()
		change(r.Image.Signature)
	}
}

// A template that does not pass the parameters on signs nothing.
func TestWorkflowOutcomeWithoutRequiredSignature(t *testing.T) {
	unsigned := makeWorkflow().Argument(contract.ParamSigningRequired, "true")
	got := lifecycle.WorkflowOutcome(unsigned.Succeeded(unsigned.Report()).Obj())
	assert.Equal(t, v1alpha1.ReasonReportInvalid, got.Reason)
	assert.Contains(t, got.Message, "its report has no signature: the template must pass the parameters from signing-secret to builder-id to status-report")

	signed := makeWorkflow().Argument(contract.ParamSigningRequired, "true")
	r := signed.Report()
	r.Image.Signature = signature()
	assert.Equal(t, lifecycle.StateBuilt, lifecycle.WorkflowOutcome(signed.Succeeded(r).Obj()).State)
}

func TestWorkflowOutcomeInvalidReport(t *testing.T) {
	for name, tc := range map[string]struct {
		change      func(*report.Report)
		wantMessage string
	}{
		"report of another Workflow":                    {func(r *report.Report) { r.Run.WorkflowUID = "another" }, "its report is about another Workflow"},
		"report of another ModelVersion":                {func(r *report.Report) { r.Run.ModelVersionUID = "another" }, "its report is about another ModelVersion"},
		"report of another image":                       {func(r *report.Report) { r.Run.Image = "modelhub/resnet:v2" }, `its report is about another image, "modelhub/resnet:v2"`},
		"report without a source":                       {func(r *report.Report) { r.Source = nil }, "its report does not say what was packaged and pushed"},
		"report without an image":                       {func(r *report.Report) { r.Image = nil }, "its report does not say what was packaged and pushed"},
		"negative number of bytes":                      {func(r *report.Report) { r.Source.Bytes = -1 }, "its report has a negative count"},
		"another image in the registry":                 {func(r *report.Report) { r.Image.Reference = "modelhub/resnet:v2" }, `its report says that the registry holds "modelhub/resnet:v2"`},
		"no digest":                                     {func(r *report.Report) { r.Image.Digest = "" }, "its report has no digest"},
		"invalid Secret name":                           {func(r *report.Report) { r.Image.PullSecret = "a b" }, `its report names "a b" as a Secret`},
		"short digest":                                  {func(r *report.Report) { r.Image.Digest = "sha256:4f53" }, "its report has no digest"},
		"trailing characters after the digest":          {func(r *report.Report) { r.Image.Digest += "\n" }, "its report has no digest"},
		"another directory in the image":                {func(r *report.Report) { r.Image.ModelPath = "/models" }, `its report says that the image has the model at "/models": the template must pass the parameter model-path to mount-check`},
		"an unknown format of the signature":            {signs(func(s *report.Signature) { s.Formats = []string{"PGP"} }), `its report says that the signature is "PGP"`},
		"an unknown attestation":                        {signs(func(s *report.Signature) { s.Attestations = []string{"BOM"} }), `its report says that the signature is "BOM"`},
		"a large signature":                             {signs(func(s *report.Signature) { s.Bundle = strings.Repeat("x", 8193) }), "its report does not describe a signature"},
		"a signature without a key":                     {signs(func(s *report.Signature) { s.KeyID = "" }), "its report does not describe a signature"},
		"an invalid name of the key's Secret":           {signs(func(s *report.Signature) { s.Secret = "a b" }), "its report does not describe a signature"},
		"a format many times":                           {signs(func(s *report.Signature) { s.Formats = []string{"Tag", "Tag", "Tag", "Tag", "Tag"} }), "its report does not describe a signature"},
		"failure in the report of a succeeded Workflow": {func(r *report.Report) { r.Failure = &report.Failure{Step: "build", Message: "Kaniko failed."} }, "step build reported a failure: Kaniko failed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := makeWorkflow().Report()
			tc.change(&r)
			got := lifecycle.WorkflowOutcome(makeWorkflow().Succeeded(r).Obj())
			assert.Equal(t, lifecycle.StateFailed, got.State)
			assert.Equal(t, v1alpha1.ReasonReportInvalid, got.Reason)
			assert.Equal(t, "Workflow mv-3-1c072-1 of ClusterWorkflowTemplate modelkiln-build succeeded without proof that the image was pushed: "+tc.wantMessage, got.Message)
		})
	}
}

// A Workflow of an image that exists already proves only the digest that was requested.
func TestWorkflowOutcomeOfAnExistingImage(t *testing.T) {
	existing := builders.MakeWorkflow(builders.MakeModelVersion("mv-3", "default").ExistingImage("v1", builders.Digest).Obj(), 1)
	r := existing.Report()

	got := lifecycle.WorkflowOutcome(existing.Succeeded(r).Obj())
	assert.Equal(t, lifecycle.StateBuilt, got.State, got.Message)
	assert.Equal(t, "Image modelhub/resnet:v1 was verified in the registry", got.Message)

	r.Image.Digest = otherDigest
	got = lifecycle.WorkflowOutcome(existing.Succeeded(r).Obj())
	assert.Equal(t, v1alpha1.ReasonReportInvalid, got.Reason)
	assert.Contains(t, got.Message, "its report says that the tag holds "+otherDigest+", which is not the requested digest")
}

func TestWorkflowOutcomeMissingReport(t *testing.T) {
	for name, change := range map[string]func(*wfv1.Workflow){
		"no nodes":                    func(wf *wfv1.Workflow) { wf.Status.Nodes = nil },
		"root node failed":            func(wf *wfv1.Workflow) { setRoot(wf, func(n *wfv1.NodeStatus) { n.Phase = wfv1.NodeFailed }) },
		"pod without an output":       func(wf *wfv1.Workflow) { setPod(wf, func(n *wfv1.NodeStatus) { n.Outputs = nil }) },
		"Workflow without an output":  func(wf *wfv1.Workflow) { wf.Status.Outputs = nil },
		"empty output":                func(wf *wfv1.Workflow) { wf.Status.Outputs.Parameters[0].Value = wfv1.AnyStringPtr("") },
		"output without a value":      func(wf *wfv1.Workflow) { wf.Status.Outputs.Parameters[0].Value = nil },
		"output that is not a report": func(wf *wfv1.Workflow) { setReport(wf, "hello") },
		"truncated report":            func(wf *wfv1.Workflow) { setReport(wf, `{"run":{"workflowUID":`) },
		"output with another name":    func(wf *wfv1.Workflow) { wf.Status.Outputs.Parameters[0].Name = "result" },
		"empty report":                func(wf *wfv1.Workflow) { setReport(wf, `{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			wf := makeWorkflow().Succeeded(makeWorkflow().Report()).Obj()
			assert.Equal(t, lifecycle.StateBuilt, lifecycle.WorkflowOutcome(wf).State)
			change(wf)
			got := lifecycle.WorkflowOutcome(wf)
			assert.Equal(t, lifecycle.StateFailed, got.State)
			assert.Equal(t, v1alpha1.ReasonReportInvalid, got.Reason)
		})
	}
}

func setRoot(wf *wfv1.Workflow, change func(*wfv1.NodeStatus)) {
	root := wf.Status.Nodes[wf.Name]
	change(&root)
	wf.Status.Nodes[wf.Name] = root
}

func setPod(wf *wfv1.Workflow, change func(*wfv1.NodeStatus)) {
	pod := wf.Status.Nodes[builders.PodNode(wf)]
	change(&pod)
	wf.Status.Nodes[pod.ID] = pod
}

func setReport(wf *wfv1.Workflow, text string) {
	wf.Status.Outputs.Parameters[0].Value = wfv1.AnyStringPtr(text)
	setPod(wf, func(n *wfv1.NodeStatus) { n.Outputs.Parameters[0].Value = wfv1.AnyStringPtr(text) })
}

// Users can submit a build without a ModelVersion.
func TestWorkflowOutcomeWithoutModelVersion(t *testing.T) {
	w := makeWorkflow().Argument(contract.ParamModelVersionUID, "")
	got := lifecycle.WorkflowOutcome(w.Succeeded(w.Report()).Obj())
	assert.Equal(t, lifecycle.StateBuilt, got.State)
}

func TestWorkflowOutcomeFailed(t *testing.T) {
	failure := makeWorkflow().FailureReport(contract.StepBuild, v1alpha1.ReasonBuildFailed, "Kaniko failed")
	earlier := func() *builders.WorkflowWrapper {
		return makeWorkflow().Failed(failure).Retried(builders.Epoch.Add(time.Hour))
	}
	deadlineInArgo := makeWorkflow().DeadlineExceeded().Obj()
	setPod(deadlineInArgo, func(n *wfv1.NodeStatus) { n.Message = "Step exceeded its deadline" })
	evicted := makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj()
	setPod(evicted, func(n *wfv1.NodeStatus) {
		n.Message = "Pod ephemeral local storage usage exceeds the total limit of containers 200Mi. "
		n.FinishedAt = metav1.NewTime(n.FinishedAt.Add(time.Second))
	})
	drained := makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj()
	setPod(drained, func(n *wfv1.NodeStatus) { n.Message = "main: Error (exit code 143)" })
	for id, node := range drained.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer && node.FailedOrError() {
			node.Message = node.DisplayName + ": Error (exit code 143)"
			drained.Status.Nodes[id] = node
		}
	}
	// A custom step of the platform team failed, and the other steps were terminated.
	customStep := drained.DeepCopy()
	for id, node := range customStep.Status.Nodes {
		if node.DisplayName == contract.StepBuild {
			node.Message = "scan: Error (exit code 1)"
			customStep.Status.Nodes[id] = node
		}
	}
	const message = `pods "mv-3" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes (volume "source")`
	invalid := makeWorkflow().Errored("").Obj()
	invalid.Status.Phase, invalid.Status.Message = wfv1.WorkflowFailed, "invalid spec: templates.build: unknown."

	for name, tc := range map[string]struct {
		workflow    *wfv1.Workflow
		wantReason  string
		wantMessage string
	}{
		"report of a step":                       {makeWorkflow().Failed(failure).Obj(), v1alpha1.ReasonBuildFailed, "Step build: Kaniko failed"},
		"report of a step, phase Error":          {withPhaseError(makeWorkflow().Failed(failure).Obj()), v1alpha1.ReasonBuildFailed, "Step build: Kaniko failed"},
		"stopped, with the report of a step":     {makeWorkflow().Running("build").Stopped().Reported(failure).Obj(), v1alpha1.ReasonWorkflowStopped, "Workflow mv-3-1c072-1 was stopped"},
		"terminated":                             {makeWorkflow().Running("build").Terminated().Obj(), v1alpha1.ReasonWorkflowTerminated, "Workflow mv-3-1c072-1 was terminated"},
		"deadline exceeded, reported by kubelet": {makeWorkflow().DeadlineExceeded().Obj(), v1alpha1.ReasonDeadlineExceeded, "Workflow mv-3-1c072-1 did not finish within its deadline"},
		"deadline exceeded, reported by Argo":    {deadlineInArgo, v1alpha1.ReasonDeadlineExceeded, "Workflow mv-3-1c072-1 did not finish within its deadline"},
		"container failed without a report":      {makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj(), v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: build: Error (exit code 1)"},
		"pod evicted by kubelet":                 {evicted, v1alpha1.ReasonEvicted, "The pod of Workflow mv-3-1c072-1 was evicted: Pod ephemeral local storage usage exceeds the total limit of containers 200Mi"},
		"custom step failed":                     {customStep, v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: scan: Error (exit code 1)"},
		"node drained between two steps":         {drained, v1alpha1.ReasonPodLost, "The pod of Workflow mv-3-1c072-1 was terminated between two steps"},
		"pod forbidden in the namespace":         {makeWorkflow().FailedWithoutPod(message).Obj(), v1alpha1.ReasonPodForbidden, "Workflow mv-3-1c072-1 is not allowed to create its pod: task 'mv-3-1c072-1(0).pod' errored: " + message},
		"rejected by Argo":                       {invalid, v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: invalid spec: templates.build: unknown"},
		"phase Error":                            {makeWorkflow().Errored("pod deleted").Obj(), v1alpha1.ReasonWorkflowError, "Argo could not run Workflow mv-3-1c072-1: pod deleted"},
		"phase Error without a message":          {makeWorkflow().Errored("").Obj(), v1alpha1.ReasonWorkflowError, "Argo could not run Workflow mv-3-1c072-1: no message"},
		"retry failed without a report":          {earlier().FailedWithoutReport(contract.StepMountCheck).Obj(), v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: mount-check: Error (exit code 1)"},
		"retry failed with a report":             {earlier().Failed(makeWorkflow().FailureReport(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "Empty")).Obj(), v1alpha1.ReasonSourceEmpty, "Step mount-check: Empty"},
	} {
		t.Run(name, func(t *testing.T) {
			got := lifecycle.WorkflowOutcome(tc.workflow)
			assert.Equal(t, lifecycle.StateFailed, got.State)
			assert.Equal(t, tc.wantReason, got.Reason)
			assert.Equal(t, tc.wantMessage, got.Message)
		})
	}
}

func withPhaseError(wf *wfv1.Workflow) *wfv1.Workflow {
	wf.Status.Phase = wfv1.WorkflowError
	return wf
}

func TestWorkflowOutcomeReportsFirstFailure(t *testing.T) {
	wf := makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj()
	wf.Status.Nodes = wfv1.Nodes{
		"root":      {ID: "root", Type: wfv1.NodeTypeSteps, Phase: wfv1.NodeFailed, Message: "child 'late' failed"},
		"late":      {ID: "late", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed, Message: "late", FinishedAt: metav1.NewTime(builders.Epoch.Add(time.Minute))},
		"first":     {ID: "first", Type: wfv1.NodeTypePod, Phase: wfv1.NodeError, Message: "first", FinishedAt: metav1.NewTime(builders.Epoch)},
		"silent":    {ID: "silent", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed},
		"succeeded": {ID: "succeeded", Type: wfv1.NodeTypePod, Phase: wfv1.NodeSucceeded, Message: "succeeded"},
	}
	assert.Equal(t, "Workflow mv-3-1c072-1 failed: first", lifecycle.WorkflowOutcome(wf).Message)
}

// A message of Argo becomes one line of bounded length.
func TestWorkflowOutcomeMessage(t *testing.T) {
	for name, tc := range map[string]struct{ message, want string }{
		"one line":                             {"pod deleted", "pod deleted"},
		"several lines":                        {"a\n\tb  c\r\nd", "a b c d"},
		"full stop":                            {"pod deleted.", "pod deleted"},
		"trailing colon":                       {"build: Error (exit code 1): ", "build: Error (exit code 1)"},
		"too long":                             {strings.Repeat("x", 600), strings.Repeat("x", 499) + "…"},
		"too long, with multi-byte characters": {strings.Repeat("é", 600), strings.Repeat("é", 499) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := lifecycle.WorkflowOutcome(makeWorkflow().Errored(tc.message).Obj())
			assert.Equal(t, "Argo could not run Workflow mv-3-1c072-1: "+tc.want, got.Message)
		})
	}
}

func TestWorkflowOutcomeBuilding(t *testing.T) {
	paused := makeWorkflow().Running(contract.StepBuild).Obj()
	paused.Status.Phase = "Paused"
	for name, tc := range map[string]struct {
		workflow    *wfv1.Workflow
		wantReason  string
		wantMessage string
	}{
		"new":                {makeWorkflow().Obj(), v1alpha1.ReasonWorkflowPending, "Workflow mv-3-1c072-1 waits for Argo to start it"},
		"waiting for a lock": {makeWorkflow().WaitingForLock().Obj(), v1alpha1.ReasonWorkflowPending, "Workflow mv-3-1c072-1 waits: Waiting for default/Mutex/modelhub/resnet:v1c072 lock. Lock status: 0/1"},
		"pod pending":        {makeWorkflow().Running("").Obj(), v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs"},
		"running a step":     {makeWorkflow().Running(contract.StepStatusReport).Obj(), v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs step status-report"},
		"running main only":  {makeWorkflow().Running("main").Obj(), v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs"},
		"unknown phase":      {paused, v1alpha1.ReasonWorkflowPhaseUnknown, `Workflow mv-3-1c072-1 is in phase "Paused", which this release of Modelkiln does not support`},
	} {
		t.Run(name, func(t *testing.T) {
			want := lifecycle.Outcome{State: lifecycle.StateBuilding, Reason: tc.wantReason, Message: tc.wantMessage}
			assert.Equal(t, want, lifecycle.WorkflowOutcome(tc.workflow))
		})
	}
}

// The next try will probably be rejected too, so users see the reason at once.
func TestWorkflowOutcomePodForbiddenWhileRetrying(t *testing.T) {
	const message = `pods "mv-3" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes (volume "source")`
	got := lifecycle.WorkflowOutcome(makeWorkflow().TryFailedWithoutPod(message).Obj())
	assert.Equal(t, lifecycle.StateBuilding, got.State)
	assert.Equal(t, v1alpha1.ReasonPodForbidden, got.Reason)
	assert.Equal(t, "Workflow mv-3-1c072-1 may retry automatically. Try 1 failed: task 'mv-3-1c072-1(0).pod' errored: "+message, got.Message)
}

func TestWorkflowOutcomeOfALargeReport(t *testing.T) {
	wf := makeWorkflow()
	r := wf.Report()
	r.Run.Image = strings.Repeat("a", report.MaxSize)
	got := lifecycle.WorkflowOutcome(wf.Succeeded(r).Obj())
	assert.Equal(t, v1alpha1.ReasonReportInvalid, got.Reason)
	assert.Contains(t, got.Message, "its report cannot be parsed")
}

// Users can write into any part of a Workflow, and a status holds 32 KiB.
func TestWorkflowOutcomeOfLongTexts(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	for name, edit := range map[string]func(*wfv1.Workflow){
		"phase":    func(wf *wfv1.Workflow) { wf.Status.Phase = wfv1.WorkflowPhase(long) },
		"template": func(wf *wfv1.Workflow) { wf.Spec.WorkflowTemplateRef.Name = long },
	} {
		t.Run(name, func(t *testing.T) {
			wf := makeWorkflow().Obj()
			wf.Status.Phase = wfv1.WorkflowSucceeded
			edit(wf)
			message := lifecycle.WorkflowOutcome(wf).Message
			assert.Contains(t, message, "aaa")
			assert.Less(t, len(message), 2000)
		})
	}
}

// BenchmarkWorkflowOutcomeChain has nodes that are each inside the one before: the
// time per node must hardly depend on their number.
func BenchmarkWorkflowOutcomeChain(b *testing.B) {
	for _, nodes := range []int{1000, 10_000, 100_000} {
		b.Run(strconv.Itoa(nodes), func(b *testing.B) {
			wf := chainedWorkflow(nodes)
			for b.Loop() {
				lifecycle.WorkflowOutcome(wf)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(nodes), "ns/node")
		})
	}
}

// chainedWorkflow returns a failed Workflow whose nodes are retries, each inside the
// one before.
func chainedWorkflow(nodes int) *wfv1.Workflow {
	wf := makeWorkflow().FailedWithoutReport(contract.StepBuild).Obj()
	for i := range nodes {
		id := "n" + strconv.Itoa(i)
		wf.Status.Nodes[id] = wfv1.NodeStatus{
			ID: id, Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeFailed, Message: "failed",
			BoundaryID: "n" + strconv.Itoa(i-1), Children: []string{"n" + strconv.Itoa(i+1)},
		}
	}
	return wf
}
