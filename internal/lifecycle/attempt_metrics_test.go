package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestStateOfVersion(t *testing.T) {
	phase := func(phase v1alpha1.ImageBuildPhase) v1alpha1.ModelVersionStatus {
		return v1alpha1.ModelVersionStatus{ImageBuildPhase: phase}
	}
	with := func(status metav1.ConditionStatus, secondType, reason string) v1alpha1.ModelVersionStatus {
		conditions := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason}}
		if secondType != "" {
			conditions = append(conditions, metav1.Condition{Type: secondType, Status: metav1.ConditionTrue, Reason: reason})
		}
		return v1alpha1.ModelVersionStatus{ImageBuildPhase: v1alpha1.ImageBuildFailed, Conditions: conditions}
	}
	for name, tc := range map[string]struct {
		status v1alpha1.ModelVersionStatus
		want   lifecycle.VersionState
	}{
		"no pass yet":                         {phase(""), lifecycle.VersionWaiting},
		"started by KubeDL":                   {phase(v1alpha1.ImageBuilding), lifecycle.VersionWaiting},
		"built by KubeDL":                     {phase(v1alpha1.ImageBuildSucceeded), lifecycle.VersionReady},
		"failed under KubeDL":                 {phase(v1alpha1.ImageBuildFailed), lifecycle.VersionFailed},
		"pending in Argo":                     {with(metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkflowPending), lifecycle.VersionWaiting},
		"pod unschedulable":                   {with(metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v1alpha1.ReasonUnschedulable), lifecycle.VersionWaiting},
		"running a step":                      {with(metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkflowRunning), lifecycle.VersionBuilding},
		"succeeded":                           {with(metav1.ConditionTrue, "", v1alpha1.ReasonSucceeded), lifecycle.VersionReady},
		"stalled":                             {with(metav1.ConditionFalse, v1alpha1.ConditionStalled, v1alpha1.ReasonSourceEmpty), lifecycle.VersionFailed},
		"rebuild requested, template missing": {with(metav1.ConditionFalse, v1alpha1.ConditionReconciling, v1alpha1.ReasonTemplateMissing), lifecycle.VersionWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			got := lifecycle.StateOfVersion(&v1alpha1.ModelVersion{Status: tc.status})
			assert.Equal(t, tc.want, got)
			assert.Contains(t, lifecycle.VersionStates, got)
		})
	}
}

// A countingScenario is a scenario that records every completed attempt.
type countingScenario struct {
	*scenario
	completions []lifecycle.Completion
}

// change changes the last Workflow, then passes.
func (c *countingScenario) change(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) {
	c.t.Helper()
	c.count(func() { c.updatePass(change) })
}

// count runs an action and records the attempt that it completes, if any.
func (c *countingScenario) count(action func()) {
	before := c.mv().Status
	action()
	if completion := lifecycle.Completed(before, c.mv().Status); completion != nil {
		c.completions = append(c.completions, *completion)
	}
	require.Nil(c.t, lifecycle.Completed(c.mv().Status, c.mv().Status), "a repeated pass must not count again")
}

// reasons returns the reasons of the completed attempts.
func (c *countingScenario) reasons() []string {
	var reasons []string
	for _, completion := range c.completions {
		assert.Equal(c.t, completion.Reason == v1alpha1.ReasonSucceeded, completion.Succeeded)
		reasons = append(reasons, completion.Reason)
	}
	return reasons
}

var (
	podPending  = runningStep("")
	buildFailed = failing(contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
	retried     = retrying(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w })
)

func TestCompleted(t *testing.T) {
	for name, tc := range map[string]struct {
		life func(c *countingScenario)
		want []string
	}{
		"running": {func(c *countingScenario) { c.change(podPending) }, nil},
		"success": {func(c *countingScenario) { c.change(podPending); c.change(succeeding) }, []string{v1alpha1.ReasonSucceeded}},
		"failure, then a retry that succeeds": {func(c *countingScenario) {
			c.change(buildFailed)
			c.change(retried)
			c.change(succeeding)
		}, []string{v1alpha1.ReasonBuildFailed, v1alpha1.ReasonSucceeded}},
		"retry that failed while the operator was down": {func(c *countingScenario) {
			c.change(buildFailed)
			c.change(retrying(buildFailed))
		}, []string{v1alpha1.ReasonBuildFailed, v1alpha1.ReasonBuildFailed}},
		"resubmit that succeeded while the operator was down": {func(c *countingScenario) {
			c.change(buildFailed)
			c.change(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
				return succeeding(wf.Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)))
			})
		}, []string{v1alpha1.ReasonBuildFailed, v1alpha1.ReasonSucceeded}},
		"terminated for a missing directory before Argo marked it running": {func(c *countingScenario) {
			c.missesDirectory()
			c.count(func() { c.pass() })
			c.change(podPending)
			c.change((*builders.WorkflowWrapper).Terminated)
		}, []string{v1alpha1.ReasonSourceMissing}},
		"deleted too often": {func(c *countingScenario) {
			for range 4 {
				c.observed.Workflows = nil
				c.count(func() { c.pass() })
			}
		}, []string{v1alpha1.ReasonWorkflowDeleted}},
		"failed, then deleted": {func(c *countingScenario) {
			c.change(buildFailed)
			c.observed.Workflows = nil
			c.count(func() { c.pass() })
		}, []string{v1alpha1.ReasonBuildFailed}},
		"failed, and the next attempt was rejected": {func(c *countingScenario) {
			c.change(buildFailed)
			c.count(func() { c.write(lifecycle.Rejected(c.mv(), "a quota is used up")) })
			c.change(buildFailed)
		}, []string{v1alpha1.ReasonBuildFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &countingScenario{scenario: newScenario(t)}
			require.NotNil(t, c.pass())
			tc.life(c)
			assert.Equal(t, tc.want, c.reasons())
		})
	}
}

func TestCompletedWithoutAttempt(t *testing.T) {
	for name, status := range map[string]v1alpha1.ModelVersionStatus{
		"ModelVersion that cannot be built": {ImageBuildPhase: v1alpha1.ImageBuildFailed, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidSpec}}},
		"ModelVersion that KubeDL built":    {ImageBuildPhase: v1alpha1.ImageBuildSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Nil(t, lifecycle.Completed(v1alpha1.ModelVersionStatus{}, status))
		})
	}
}

func TestCompletedDurationAndSize(t *testing.T) {
	c := &countingScenario{scenario: newScenario(t)}
	require.NotNil(t, c.pass())
	c.change(succeeding)
	require.Len(t, c.completions, 1)
	require.NotNil(t, c.completions[0].Seconds)
	assert.InDelta(t, 20, *c.completions[0].Seconds, 0)
	assert.Equal(t, int64(52428800), c.completions[0].Bytes)
}

// Argo starts all containers of a pod together, and records when each one ends.
func TestStepSeconds(t *testing.T) {
	at := func(seconds int) metav1.Time {
		return metav1.NewTime(builders.Epoch.Add(time.Duration(seconds) * time.Second))
	}
	type node struct {
		phase         wfv1.NodePhase
		started, ends int
	}
	const running = -1
	for name, tc := range map[string]struct {
		nodes map[string]node
		want  map[string]float64
	}{
		"success": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeSucceeded, 2, 107}, contract.StepStatusReport: {wfv1.NodeSucceeded, 2, 110}},
			map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 100, contract.StepStatusReport: 3},
		},
		"build failed, so that status-report did not run": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeFailed, 2, 37}, contract.StepStatusReport: {wfv1.NodeError, 2, 38}},
			map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 30},
		},
		"a custom template delays a step": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeSucceeded, 50, 60}},
			map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 10},
		},
		"no end recorded for a step": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeRunning, 2, running}, contract.StepStatusReport: {wfv1.NodeSucceeded, 2, 9}},
			map[string]float64{contract.StepMountCheck: 5},
		},
		"node of an earlier run": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, -90, -80}},
			map[string]float64{},
		},
		"no step ran": {nil, map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &countingScenario{scenario: newScenario(t)}
			require.NotNil(t, c.pass())
			c.change(buildFailed)
			require.Len(t, c.completions, 1)
			wf := c.observed.Workflows[0].DeepCopy()
			wf.CreationTimestamp, wf.Status.StartedAt, wf.Status.Nodes = at(0), at(1), wfv1.Nodes{}
			for step, n := range tc.nodes {
				status := wfv1.NodeStatus{DisplayName: step, Type: wfv1.NodeTypeContainer, Phase: n.phase, StartedAt: at(n.started)}
				if n.ends != running {
					status.FinishedAt = at(n.ends)
				}
				wf.Status.Nodes[step] = status
			}
			other := builders.MakeWorkflow(c.mv(), 7).Succeeded(builders.MakeWorkflow(c.mv(), 7).Report()).Obj()

			assert.Equal(t, tc.want, lifecycle.StepSeconds(c.completions[0], []*wfv1.Workflow{other, wf}))
			assert.Empty(t, lifecycle.StepSeconds(c.completions[0], []*wfv1.Workflow{other}))
		})
	}
}
