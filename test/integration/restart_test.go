package integration

import (
	"fmt"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// writesOfALife is how many writes, events aside, one version's life takes
// with the steps that goesOn makes.
const writesOfALife = 10

// goesOn lets Argo take the next step, if the operator has seen the last one.
func (s scene) goesOn() {
	s.t.Helper()
	list := s.argo.workflows()
	if len(list) == 0 {
		return
	}
	require.Len(s.t, list, 1, "a second build was started")
	wf := &list[0]
	seen := s.version(resnet).Status.Workflow
	if seen == nil || seen.Phase != string(wf.Status.Phase) {
		return
	}
	switch wf.Status.Phase {
	case wfv1.WorkflowUnknown:
		s.argo.postpones(wf, "Waiting for a lock")
	case wfv1.WorkflowPending:
		s.argo.runs(wf, contract.StepBuild)
	case wfv1.WorkflowRunning:
		s.argo.succeeds(wf)
	default: // It is over.
	}
}

// isOver says that a version is Ready and that its Model knows.
func (s scene) isOver() bool {
	s.t.Helper()
	return readyReason(s.version(resnet)) == v1alpha1.ReasonSucceeded && s.model("resnet").Status.LatestVersion != nil
}

// An operator dies at every write of a version's life: before the write
// arrives, or before its answer does; and while no operator runs Argo stands
// still, or brings the build to its end.
func TestAnOperatorThatDiesLosesNothing(t *testing.T) {
	type death struct {
		scene     scene
		meanwhile bool
	}
	deaths := map[string]death{}
	w := newWire()
	for write := 1; write <= writesOfALife; write++ {
		for _, arrives := range []bool{false, true} {
			for _, meanwhile := range []bool{false, true} {
				name := fmt.Sprintf("before write %d %s, and Argo %s", write,
					map[bool]string{false: "arrives", true: "is answered"}[arrives],
					map[bool]string{false: "stands still", true: "finishes meanwhile"}[meanwhile])
				d := death{newScene(t, shared), meanwhile}
				w.cuts[d.scene.namespace] = &cut{write: write, arrives: arrives}
				deaths[name] = d
			}
		}
	}

	op := startOperator(t, shared, withWire(w))
	for _, d := range deaths {
		d.scene.apply(localVersion)
	}
	for name, d := range deaths {
		require.Eventually(t, func() bool {
			d.scene.goesOn()
			return w.wasCut(d.scene.namespace)
		}, deadline, tick, "the operator did not die %s", name)
	}
	op.stop()
	for _, d := range deaths {
		if list := d.scene.argo.workflows(); d.meanwhile && len(list) == 1 && !list[0].Status.Phase.Completed() {
			d.scene.argo.succeeds(&list[0])
		}
	}

	startOperator(t, shared)
	for name, d := range deaths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := d.scene.in(t)
			require.Eventually(t, func() bool {
				s.goesOn()
				return s.isOver()
			}, deadline, tick, "the next operator does not go on")
			s.endedWell()
		})
	}
}

// endedWell says that a version became Ready through one attempt, whatever
// happened to it.
func (s scene) endedWell() {
	s.t.Helper()
	mv := s.version(resnet)
	list := s.argo.workflows()
	require.Len(s.t, list, 1)
	wf := &list[0]
	assert.Equal(s.t, workflow.Name(mv.Name, mv.UID, 1), wf.Name)
	assert.Equal(s.t, ready, states(mv))
	assert.Equal(s.t, int64(1), mv.Status.Attempts)
	assert.Equal(s.t, digest, mv.Status.Digest)
	assert.Equal(s.t, v1alpha1.WorkflowStatus{Name: wf.Name, UID: string(wf.UID), Phase: "Succeeded", Generation: 1}, *mv.Status.Workflow)
	require.Len(s.t, mv.OwnerReferences, 1)
	assert.Equal(s.t, s.model("resnet").UID, mv.OwnerReferences[0].UID)
	assert.Equal(s.t, s.latest(resnet), s.model("resnet").Status.LatestVersion)
}

// The operator prepares the namespace anew whenever it starts a build, so that
// four writes are what it needs to get any further.
func TestAnOperatorThatDiesAgainAndAgainGetsThere(t *testing.T) {
	s := newScene(t, shared)
	s.apply(localVersion)
	for lives := 1; lives <= writesOfALife && !s.isOver(); lives++ {
		w := newWire()
		w.cuts[s.namespace] = &cut{write: 4, arrives: true}
		op := startOperator(t, shared, withWire(w))
		require.Eventually(t, func() bool {
			s.goesOn()
			return w.wasCut(s.namespace) || s.isOver()
		}, deadline, tick, "operator %d does nothing", lives)
		op.stop()
	}
	s.endedWell()
}

// What happens to Workflows while no operator runs is found out by the next.
func TestANewOperatorFindsOutWhatHappened(t *testing.T) {
	cases := map[string]struct {
		meanwhile func(scene, *wfv1.Workflow)
		want      func(scene)
	}{
		"a Workflow failed": {
			func(s scene, wf *wfv1.Workflow) {
				s.argo.fails(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
			},
			func(s scene) { s.awaitReason(resnet, v1alpha1.ReasonBuildFailed) },
		},
		"a Workflow failed and was retried": {
			func(s scene, wf *wfv1.Workflow) {
				s.argo.retry(s.argo.fails(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device"))
			},
			func(s scene) { s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning) },
		},
		"a Workflow failed and was resubmitted, with success": {
			func(s scene, wf *wfv1.Workflow) {
				s.argo.succeeds(s.argo.resubmit(s.client, s.argo.fails(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")))
			},
			func(s scene) {
				mv := s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
				assert.Equal(s.t, digest, mv.Status.Digest)
			},
		},
		"an unfinished Workflow was deleted": {
			func(s scene, wf *wfv1.Workflow) { require.NoError(s.t, s.client.Delete(s.t.Context(), wf)) },
			func(s scene) {
				s.awaitFollows(resnet, s.argo.awaitAttempt(s.version(resnet), 2), "")
			},
		},
		"the host path turned out to be missing": {
			func(s scene, wf *wfv1.Workflow) { s.kubelet.cannotMount(s.argo.startsPod(wf), "/models/resnet/1") },
			func(s scene) { s.awaitReason(resnet, v1alpha1.ReasonSourceMissing) },
		},
		"a person asked for another attempt": {
			func(s scene, wf *wfv1.Workflow) {
				s.argo.fails(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
				s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
			},
			func(s scene) {
				s.awaitFollows(resnet, s.argo.awaitAttempt(s.version(resnet), 2), "")
			},
		},
		"the version was deleted": {
			func(s scene, _ *wfv1.Workflow) {
				require.NoError(s.t, s.client.Delete(s.t.Context(), s.version(resnet)))
			},
			func(s scene) {
				s.absent(resnet, &v1alpha1.ModelVersion{})
				assert.Len(s.t, s.argo.workflows(), 1, "the garbage collector's to delete")
			},
		},
	}
	scenes := map[string]scene{}
	op := startOperator(t, shared)
	for name := range cases {
		s, wf := newBuild(t)
		s.argo.runs(wf, contract.StepMountCheck)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		scenes[name] = s
	}
	op.stop()
	for name, tc := range cases {
		tc.meanwhile(scenes[name], scenes[name].argo.awaitOnlyWorkflow())
	}

	op = startOperator(t, shared)
	op.settles(t, shared)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { tc.want(scenes[name].in(t)) })
	}
}

func TestOneOfSeveralReplicasWorksAtATime(t *testing.T) {
	elected := withManager(func(o *manager.Options) {
		o.LeaderElect, o.LeaderElectionNamespace = true, operatorNamespace
	})
	s := newScene(t, shared)
	first := startOperator(t, shared, elected)
	s.apply(localVersion)
	wf := s.argo.awaitOnlyWorkflow()
	s.awaitFollows(resnet, wf, "")

	second := startOperator(t, shared, elected)
	second.awaitRequest(t, func(r request) bool { return r.in(operatorNamespace) }, "to look at the lease")
	s.argo.runs(wf, contract.StepBuild)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	assert.Empty(t, second.wire.writes(s.namespace))

	first.stop()
	s.buildSucceeds(wf)
	assert.NotEmpty(t, second.wire.writes(s.namespace))
}
