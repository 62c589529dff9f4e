package integration

import (
	"fmt"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// writesPerBuild is the number of writes, without events, from a new
// ModelVersion to Ready with the steps of advance.
const writesPerBuild = 10

// advance writes Argo's next step, if the operator has seen the previous one.
func (s sandbox) advance() {
	s.t.Helper()
	list := s.argo.workflows()
	if len(list) == 0 {
		return
	}
	require.Len(s.t, list, 1, "there is more than one Workflow")
	wf := &list[0]
	seen := s.version(resnet).Status.Workflow
	if seen == nil || seen.Phase != string(wf.Status.Phase) {
		return
	}
	switch wf.Status.Phase {
	case wfv1.WorkflowUnknown:
		s.argo.setPending(wf, "Waiting for a lock")
	case wfv1.WorkflowPending:
		s.argo.runStep(wf, contract.StepBuild)
	case wfv1.WorkflowRunning:
		s.argo.completeWorkflow(wf)
	default: // The Workflow has finished.
	}
}

// isDone reports whether the ModelVersion is Ready and its Model has a latest
// version.
func (s sandbox) isDone() bool {
	s.t.Helper()
	return readyReason(s.version(resnet)) == v1alpha1.ReasonSucceeded && s.model("resnet").Status.LatestVersion != nil
}

// The operator crashes at every write of a build, before the write reaches the
// API server or before the response reaches the operator. Until the next
// operator starts, Argo does nothing or finishes the Workflow.
func TestRestartAtEveryWrite(t *testing.T) {
	type crash struct {
		sandbox      sandbox
		argoFinishes bool
	}
	crashes := map[string]crash{}
	tr := newTransport()
	for write := 1; write <= writesPerBuild; write++ {
		for _, delivered := range []bool{false, true} {
			for _, argoFinishes := range []bool{false, true} {
				name := fmt.Sprintf("at write %d, %s, %s", write,
					map[bool]string{false: "not delivered", true: "delivered"}[delivered],
					map[bool]string{false: "Argo waits", true: "Argo finishes"}[argoFinishes])
				c := crash{newSandbox(t, shared), argoFinishes}
				tr.disconnects[c.sandbox.namespace] = &disconnect{atWrite: write, delivered: delivered}
				crashes[name] = c
			}
		}
	}

	op := startOperator(t, shared, withTransport(tr))
	for _, c := range crashes {
		c.sandbox.create(localVersion)
	}
	for name, c := range crashes {
		require.Eventually(t, func() bool {
			c.sandbox.advance()
			return tr.disconnected(c.sandbox.namespace)
		}, deadline, tick, "no crash %s", name)
	}
	op.stop()
	for _, c := range crashes {
		if list := c.sandbox.argo.workflows(); c.argoFinishes && len(list) == 1 && !list[0].Status.Phase.Completed() {
			c.sandbox.argo.completeWorkflow(&list[0])
		}
	}

	startOperator(t, shared)
	for name, c := range crashes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.sandbox.withT(t)
			require.Eventually(t, func() bool {
				s.advance()
				return s.isDone()
			}, deadline, tick, "the next operator does not finish the build")
			s.assertBuiltOnce()
		})
	}
}

// assertBuiltOnce checks that the ModelVersion is Ready after one attempt.
func (s sandbox) assertBuiltOnce() {
	s.t.Helper()
	mv := s.version(resnet)
	list := s.argo.workflows()
	require.Len(s.t, list, 1)
	wf := &list[0]
	assert.Equal(s.t, workflow.Name(mv.Name, mv.UID, 1), wf.Name)
	assert.Equal(s.t, ready, conditionStatuses(mv))
	assert.Equal(s.t, int64(1), mv.Status.Attempts)
	assert.Equal(s.t, digest, mv.Status.Digest)
	assert.Equal(s.t, v1alpha1.WorkflowStatus{Name: wf.Name, UID: string(wf.UID), Phase: "Succeeded", Generation: 1, BuildHash: workflow.BuildHash(wf)}, *mv.Status.Workflow)
	require.Len(s.t, mv.OwnerReferences, 1)
	assert.Equal(s.t, s.model("resnet").UID, mv.OwnerReferences[0].UID)
	assert.Equal(s.t, s.latestVersion(resnet), s.model("resnet").Status.LatestVersion)
}

// Whenever the operator starts a build it writes three objects of the namespace
// first, so that it makes progress only if it lives for four writes.
func TestRestartAfterEveryFourthWrite(t *testing.T) {
	s := newSandbox(t, shared)
	s.create(localVersion)
	for run := 1; run <= writesPerBuild && !s.isDone(); run++ {
		tr := newTransport()
		tr.disconnects[s.namespace] = &disconnect{atWrite: 4, delivered: true}
		op := startOperator(t, shared, withTransport(tr))
		require.Eventually(t, func() bool {
			s.advance()
			return tr.disconnected(s.namespace) || s.isDone()
		}, deadline, tick, "operator %d makes no progress", run)
		op.stop()
	}
	s.assertBuiltOnce()
}

// The next operator handles what happens while none runs.
func TestRestartAfterChanges(t *testing.T) {
	cases := map[string]struct {
		meanwhile func(sandbox, *wfv1.Workflow)
		want      func(sandbox)
	}{
		"the Workflow failed": {
			func(s sandbox, wf *wfv1.Workflow) {
				s.argo.failWorkflow(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
			},
			func(s sandbox) { s.awaitReason(resnet, v1alpha1.ReasonBuildFailed) },
		},
		"the Workflow failed and was retried": {
			func(s sandbox, wf *wfv1.Workflow) {
				s.argo.retry(s.argo.failWorkflow(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device"))
			},
			func(s sandbox) { s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning) },
		},
		"the Workflow failed and was resubmitted successfully": {
			func(s sandbox, wf *wfv1.Workflow) {
				s.argo.completeWorkflow(s.argo.resubmit(s.client, s.argo.failWorkflow(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")))
			},
			func(s sandbox) {
				mv := s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
				assert.Equal(s.t, digest, mv.Status.Digest)
			},
		},
		"the unfinished Workflow was deleted": {
			func(s sandbox, wf *wfv1.Workflow) { require.NoError(s.t, s.client.Delete(s.t.Context(), wf)) },
			func(s sandbox) {
				s.awaitWorkflowPhase(resnet, s.argo.awaitAttempt(s.version(resnet), 2), "")
			},
		},
		"the host path does not exist": {
			func(s sandbox, wf *wfv1.Workflow) { s.kubelet.failMount(s.argo.createPod(wf)) },
			func(s sandbox) { s.awaitReason(resnet, v1alpha1.ReasonSourceMissing) },
		},
		"a rebuild was requested": {
			func(s sandbox, wf *wfv1.Workflow) {
				s.argo.failWorkflow(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
				s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
			},
			func(s sandbox) {
				s.awaitWorkflowPhase(resnet, s.argo.awaitAttempt(s.version(resnet), 2), "")
			},
		},
		"the ModelVersion was deleted": {
			func(s sandbox, _ *wfv1.Workflow) {
				require.NoError(s.t, s.client.Delete(s.t.Context(), s.version(resnet)))
			},
			func(s sandbox) {
				s.assertAbsent(resnet, &v1alpha1.ModelVersion{})
				assert.Len(s.t, s.argo.workflows(), 1, "the garbage collector deletes it")
			},
		},
	}
	sandboxes := map[string]sandbox{}
	op := startOperator(t, shared)
	for name := range cases {
		s, wf := startBuild(t)
		s.argo.runStep(wf, contract.StepMountCheck)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		sandboxes[name] = s
	}
	op.stop()
	for name, tc := range cases {
		tc.meanwhile(sandboxes[name], sandboxes[name].argo.awaitOnlyWorkflow())
	}

	op = startOperator(t, shared)
	op.drainQueue(t, shared)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { tc.want(sandboxes[name].withT(t)) })
	}
}

func TestLeaderElection(t *testing.T) {
	s := newSandbox(t, shared)
	first := startOperator(t, shared, withLeaderElection())
	s.create(localVersion)
	wf := s.argo.awaitOnlyWorkflow()
	s.awaitWorkflowPhase(resnet, wf, "")

	second := startOperator(t, shared, withLeaderElection())
	second.awaitRequest(t, func(r request) bool { return r.inNamespace(operatorNamespace) }, "for the Lease")
	s.argo.runStep(wf, contract.StepBuild)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	assert.Empty(t, second.transport.writes(s.namespace))

	first.stop()
	s.completeBuild(wf)
	assert.NotEmpty(t, second.transport.writes(s.namespace))
}
