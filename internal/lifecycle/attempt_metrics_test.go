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

func TestStateOfAVersion(t *testing.T) {
	phase := func(phase v1alpha1.ImageBuildPhase) v1alpha1.ModelVersionStatus {
		return v1alpha1.ModelVersionStatus{ImageBuildPhase: phase}
	}
	says := func(status metav1.ConditionStatus, beside, reason string) v1alpha1.ModelVersionStatus {
		conditions := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason}}
		if beside != "" {
			conditions = append(conditions, metav1.Condition{Type: beside, Status: metav1.ConditionTrue, Reason: reason})
		}
		return v1alpha1.ModelVersionStatus{ImageBuildPhase: v1alpha1.ImageBuildFailed, Conditions: conditions}
	}
	for name, tc := range map[string]struct {
		status v1alpha1.ModelVersionStatus
		want   lifecycle.VersionState
	}{
		"nobody has looked at it":                    {phase(""), lifecycle.VersionWaiting},
		"KubeDL began it":                            {phase(v1alpha1.ImageBuilding), lifecycle.VersionWaiting},
		"KubeDL built it":                            {phase(v1alpha1.ImageBuildSucceeded), lifecycle.VersionReady},
		"KubeDL failed":                              {phase(v1alpha1.ImageBuildFailed), lifecycle.VersionFailed},
		"Argo has not started it":                    {says(metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkflowPending), lifecycle.VersionWaiting},
		"no node takes its pod":                      {says(metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v1alpha1.ReasonUnschedulable), lifecycle.VersionWaiting},
		"a step runs":                                {says(metav1.ConditionUnknown, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkflowRunning), lifecycle.VersionBuilding},
		"its image is in the registry":               {says(metav1.ConditionTrue, "", v1alpha1.ReasonSucceeded), lifecycle.VersionReady},
		"a person has to act":                        {says(metav1.ConditionFalse, v1alpha1.ConditionStalled, v1alpha1.ReasonSourceEmpty), lifecycle.VersionFailed},
		"a person has acted, and the template lacks": {says(metav1.ConditionFalse, v1alpha1.ConditionReconciling, v1alpha1.ReasonTemplateMissing), lifecycle.VersionWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			got := lifecycle.StateOfVersion(&v1alpha1.ModelVersion{Status: tc.status})
			assert.Equal(t, tc.want, got)
			assert.Contains(t, lifecycle.VersionStates, got)
		})
	}
}

// counted is a world in which every change of the status is measured.
type counted struct {
	*world
	ends []lifecycle.Completion
}

// change is one pass after a change of the last Workflow.
func (c *counted) change(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) {
	c.t.Helper()
	before := c.mv.Status
	c.becomes(change)
	c.measure(before)
}

func (c *counted) measure(before v1alpha1.ModelVersionStatus) {
	if end := lifecycle.Completed(before, c.mv.Status); end != nil {
		c.ends = append(c.ends, *end)
	}
	require.Nil(c.t, lifecycle.Completed(c.mv.Status, c.mv.Status), "a pass that is repeated counts nothing")
}

// reasons are how the attempts ended that were counted.
func (c *counted) reasons() []string {
	var reasons []string
	for _, end := range c.ends {
		assert.Equal(c.t, end.Reason == v1alpha1.ReasonSucceeded, end.Succeeded)
		reasons = append(reasons, end.Reason)
	}
	return reasons
}

func running(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper { return wf.Running("") }

func succeeded(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return wf.Succeeded(wf.Report())
}

func failed(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return wf.Failed(wf.FailureReport(contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device"))
}

func retried(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return wf.Retried(builders.Epoch.Add(time.Hour))
}

func TestEachAttemptEndsOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		life func(c *counted)
		want []string
	}{
		"a build that runs has not ended": {func(c *counted) { c.change(running) }, nil},
		"a success":                       {func(c *counted) { c.change(running); c.change(succeeded) }, []string{v1alpha1.ReasonSucceeded}},
		"a failure, and the retry of it": {func(c *counted) {
			c.change(failed)
			c.change(retried)
			c.change(succeeded)
		}, []string{v1alpha1.ReasonBuildFailed, v1alpha1.ReasonSucceeded}},
		"a retry that began and failed while no operator looked": {func(c *counted) {
			c.change(failed)
			c.change(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper { return failed(retried(wf)) })
		}, []string{v1alpha1.ReasonBuildFailed, v1alpha1.ReasonBuildFailed}},
		"a resubmitted one that ended while no operator looked": {func(c *counted) {
			c.change(failed)
			c.change(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
				return succeeded(wf.Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)))
			})
		}, []string{v1alpha1.ReasonBuildFailed, v1alpha1.ReasonSucceeded}},
		"one that was ended since its folder is missing, before Argo had said that it runs": {func(c *counted) {
			before := c.mv.Status
			c.missesFolder(c.workflows[0])
			c.pass()
			c.measure(before)
			c.change(running)
			c.change((*builders.WorkflowWrapper).Terminated)
		}, []string{v1alpha1.ReasonSourceMissing}},
		"one that was deleted too often": {func(c *counted) {
			for range 4 {
				before := c.mv.Status
				c.workflows = nil
				c.pass()
				c.measure(before)
			}
		}, []string{v1alpha1.ReasonWorkflowDeleted}},
		"a failed one that is deleted ends no second time": {func(c *counted) {
			c.change(failed)
			before := c.mv.Status
			c.workflows = nil
			c.pass()
			c.measure(before)
		}, []string{v1alpha1.ReasonBuildFailed}},
		"nor does one that failed when another cannot be made": {func(c *counted) {
			c.change(failed)
			before := c.mv.Status
			c.mv.Status = lifecycle.Rejected(c.mv, "a quota is used up")
			c.measure(before)
			c.change(failed)
		}, []string{v1alpha1.ReasonBuildFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counted{world: newWorld(t)}
			require.NotNil(t, c.pass())
			tc.life(c)
			assert.Equal(t, tc.want, c.reasons())
		})
	}
}

func TestWhatNeverWasAnAttemptDoesNotEnd(t *testing.T) {
	for name, status := range map[string]v1alpha1.ModelVersionStatus{
		"a version that cannot be built": {ImageBuildPhase: v1alpha1.ImageBuildFailed, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidSpec}}},
		"a version that KubeDL built":    {ImageBuildPhase: v1alpha1.ImageBuildSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Nil(t, lifecycle.Completed(v1alpha1.ModelVersionStatus{}, status))
		})
	}
}

func TestAnEndHasItsTimeAndItsBytes(t *testing.T) {
	c := &counted{world: newWorld(t)}
	require.NotNil(t, c.pass())
	c.change(succeeded)
	require.Len(t, c.ends, 1)
	require.NotNil(t, c.ends[0].Seconds)
	assert.InDelta(t, 20, *c.ends[0].Seconds, 0)
	assert.Equal(t, int64(52428800), c.ends[0].Bytes)
}

// Argo starts the containers of a pod at once, and says when each has ended.
func TestAStepBeginsWhenTheOneBeforeItHasEnded(t *testing.T) {
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
		"all went well": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeSucceeded, 2, 107}, contract.StepStatusReport: {wfv1.NodeSucceeded, 2, 110}},
			map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 100, contract.StepStatusReport: 3},
		},
		"one failed, and the next did not run": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeFailed, 2, 37}, contract.StepStatusReport: {wfv1.NodeError, 2, 38}},
			map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 30},
		},
		"a template of somebody else's lets one wait": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeSucceeded, 50, 60}},
			map[string]float64{contract.StepMountCheck: 5, contract.StepBuild: 10},
		},
		"a step is not said to have ended": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, 2, 7}, contract.StepBuild: {wfv1.NodeRunning, 2, running}, contract.StepStatusReport: {wfv1.NodeSucceeded, 2, 9}},
			map[string]float64{contract.StepMountCheck: 5},
		},
		"what an earlier run left is not counted": {
			map[string]node{contract.StepMountCheck: {wfv1.NodeSucceeded, -90, -80}},
			map[string]float64{},
		},
		"no step ran": {nil, map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counted{world: newWorld(t)}
			require.NotNil(t, c.pass())
			c.change(failed)
			require.Len(t, c.ends, 1)
			wf := c.workflows[0].DeepCopy()
			wf.CreationTimestamp, wf.Status.StartedAt, wf.Status.Nodes = at(0), at(1), wfv1.Nodes{}
			for step, n := range tc.nodes {
				status := wfv1.NodeStatus{DisplayName: step, Type: wfv1.NodeTypeContainer, Phase: n.phase, StartedAt: at(n.started)}
				if n.ends != running {
					status.FinishedAt = at(n.ends)
				}
				wf.Status.Nodes[step] = status
			}
			other := builders.MakeWorkflow(c.mv, 7).Succeeded(builders.MakeWorkflow(c.mv, 7).Report()).Obj()

			assert.Equal(t, tc.want, lifecycle.StepSeconds(c.ends[0], []*wfv1.Workflow{other, wf}))
			assert.Empty(t, lifecycle.StepSeconds(c.ends[0], []*wfv1.Workflow{other}))
		})
	}
}
