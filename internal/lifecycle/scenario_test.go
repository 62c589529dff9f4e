package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

var options = config.Default().Options()

// conditionTime is when conditions change in tests.
var conditionTime = time.Date(2026, time.March, 1, 13, 0, 0, 0, time.UTC)

// A scenario takes one ModelVersion and its Workflows through passes of the
// reconciler. Everything that a pass observes is in observed.
type scenario struct {
	t        *testing.T
	observed lifecycle.Observed
	opts     workflow.Options
	minutes  int
}

// newScenario returns the scenario of a new ModelVersion with its files on a node.
func newScenario(t *testing.T) *scenario {
	t.Helper()
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	return &scenario{t: t, opts: options, observed: lifecycle.Observed{Version: mv, TemplateFound: true, Now: builders.Epoch, WaitsSince: builders.Epoch}}
}

// mv returns the ModelVersion.
func (s *scenario) mv() *v1alpha1.ModelVersion { return s.observed.Version }

// next returns what a pass would do now.
func (s *scenario) next() lifecycle.Step {
	s.observed.Followed = lifecycle.SelectWorkflow(s.observed, s.opts)
	return lifecycle.NextStep(s.observed, s.opts)
}

// pass does what a pass of the reconciler does, and returns the Workflow that it
// created, or nil.
func (s *scenario) pass() *wfv1.Workflow {
	s.t.Helper()
	step := s.next()
	if step.Create == nil {
		s.write(step.Status)
		return nil
	}
	s.minutes++
	created := builders.FromWorkflow(step.Create).
		UID(types.UID("uid-of-" + step.Create.Name)).
		Created(builders.Epoch.Add(time.Duration(s.minutes) * time.Minute)).Obj()
	s.observed.Workflows = append(s.observed.Workflows, created)
	s.write(lifecycle.Follow(s.observed, created, s.opts))
	return created
}

// write sets the status, as the reconciler patches it.
func (s *scenario) write(status v1alpha1.ModelVersionStatus) {
	mv := s.mv().DeepCopy()
	mv.Status = *status.DeepCopy()
	for i := range mv.Status.Conditions {
		if c := &mv.Status.Conditions[i]; c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = metav1.NewTime(conditionTime)
		}
	}
	s.observed.Version = mv
}

// update changes the last Workflow without a pass.
func (s *scenario) update(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) {
	last := len(s.observed.Workflows) - 1
	s.observed.Workflows[last] = change(builders.FromWorkflow(s.observed.Workflows[last])).Obj()
}

// updatePass changes the last Workflow, and passes.
func (s *scenario) updatePass(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) *wfv1.Workflow {
	s.t.Helper()
	s.update(change)
	return s.pass()
}

// started passes until the step build runs.
func (s *scenario) started() {
	s.pass()
	s.updatePass(runningStep(contract.StepBuild))
}

// failed passes until the first attempt has failed.
func (s *scenario) failed() {
	s.pass()
	s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "/foo holds no file"))
}

// succeeded passes until the ModelVersion is Ready.
func (s *scenario) succeeded() {
	s.started()
	s.updatePass(succeeding)
}

// edit changes spec.build, as a user does.
func (s *scenario) edit() {
	s.mv().Spec.Build = &v1alpha1.Build{PushSecretName: "team-a-push"}
	s.mv().Generation++
}

// requestRebuild sets the rebuild annotation.
func (s *scenario) requestRebuild() {
	s.mv().Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
}

// missesDirectory makes kubelet report that the node does not have the directory.
func (s *scenario) missesDirectory() {
	wf := s.observed.Workflows[len(s.observed.Workflows)-1]
	s.observed.MountFailure = &lifecycle.MountFailure{WorkflowUID: string(wf.UID), Messages: []string{`MountVolume.SetUp failed for volume "source" : hostPath type check failed: /foo is not a directory`}}
}

// podMessage sets Argo's message for the pending pod of the last Workflow.
func (s *scenario) podMessage(message string) {
	wf := s.observed.Workflows[len(s.observed.Workflows)-1]
	pod := wf.Status.Nodes[builders.PodNode(wf)]
	pod.Message = message
	wf.Status.Nodes[pod.ID] = pod
}

// after sets the time of the next pass.
func (s *scenario) after(d time.Duration) { s.observed.Now = builders.Epoch.Add(d) }

func runningStep(step string) func(*builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w.Running(step) }
}

func succeeding(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return w.Succeeded(w.Report())
}

func failing(step, reason, message string) func(*builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Failed(w.FailureReport(step, reason, message))
	}
}

func failingWithoutReport(step string) func(*builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w.FailedWithoutReport(step) }
}

// failingTry fails a try for a reason that may pass, so that Argo retries.
func failingTry(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return w.FailedTry(w.FailureReport(contract.StepMountCheck, v1alpha1.ReasonRegistryUnreachable, "the registry models.example.com does not respond"))
}

// nextStep selects the Workflow that the ModelVersion follows, as the reconciler
// does, and decides. The Workflow waits since builders.Epoch, unless the test has set
// another time.
func nextStep(o lifecycle.Observed, opts workflow.Options) lifecycle.Step {
	if o.WaitsSince.IsZero() {
		o.WaitsSince = builders.Epoch
	}
	o.Followed = lifecycle.SelectWorkflow(o, opts)
	return lifecycle.NextStep(o, opts)
}

// after returns the ModelVersion once the status of a step is written.
func after(mv *v1alpha1.ModelVersion, step lifecycle.Step) *v1alpha1.ModelVersion {
	s := &scenario{observed: lifecycle.Observed{Version: mv}}
	s.write(step.Status)
	return s.mv()
}
