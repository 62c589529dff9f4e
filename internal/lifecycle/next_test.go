package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// world is what one version and its Workflows go through in a test, pass by
// pass.
type world struct {
	t         *testing.T
	mv        *v1alpha1.ModelVersion
	workflows []*wfv1.Workflow
	// mountFailure is what kubelet says of a Workflow's pod.
	mountFailure *lifecycle.MountFailure
	minutes      int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, mv: builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()}
}

// pass does what a reconcile does, and returns the Workflow that it made.
func (w *world) pass() *wfv1.Workflow {
	w.t.Helper()
	s := w.next()
	w.mv = after(w.mv, s)
	if s.Create == nil {
		return nil
	}
	w.minutes++
	created := builders.FromWorkflow(s.Create).UID(types.UID("uid-of-" + s.Create.Name)).Created(builders.Epoch.Add(time.Duration(w.minutes) * time.Minute)).Obj()
	w.workflows = append(w.workflows, created)
	w.mv = after(w.mv, w.next())
	return created
}

func (w *world) next() lifecycle.Step {
	return nextStep(lifecycle.Observed{Version: w.mv, Workflows: w.workflows, TemplateFound: true, MountFailure: w.mountFailure, Now: builders.Epoch}, options)
}

// missesFolder says that kubelet finds no folder for the Workflow's pod.
func (w *world) missesFolder(wf *wfv1.Workflow) {
	w.mountFailure = &lifecycle.MountFailure{WorkflowUID: string(wf.UID), Messages: []string{`MountVolume.SetUp failed for volume "source" : hostPath type check failed: /foo is not a directory`}}
}

// becomes puts the last Workflow into another state, and passes.
func (w *world) becomes(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) *wfv1.Workflow {
	w.t.Helper()
	last := len(w.workflows) - 1
	w.workflows[last] = change(builders.FromWorkflow(w.workflows[last])).Obj()
	return w.pass()
}

func takenTag(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return w.Failed(w.FailureReport(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "The tag holds another image"))
}

func TestAnAutomaticTagGrowsUntilItIsFree(t *testing.T) {
	w := newWorld(t)
	require.NotNil(t, w.pass())
	var images []string
	for w.mv.Status.ImageBuildPhase == v1alpha1.ImageBuilding {
		images = append(images, w.mv.Status.Image)
		w.becomes(takenTag)
	}
	want := []string{
		"modelhub/resnet:v1c072",
		"modelhub/resnet:v1c072d5e",
		"modelhub/resnet:v1c072d5e8a414f0b",
		"modelhub/resnet:v1c072d5e8a414f0b9c365d2e7f1a0b94",
	}
	assert.Equal(t, want, images)
	assert.EqualValues(t, 4, w.mv.Status.Attempts)
	assert.Nil(t, w.pass(), "when the last is taken nothing more is tried")
}

func TestALongerTagIsKeptByTheAttemptsAfterIt(t *testing.T) {
	w := newWorld(t)
	w.pass()
	require.NotNil(t, w.becomes(takenTag))
	require.Equal(t, "modelhub/resnet:v1c072d5e", w.mv.Status.Image)

	w.workflows = nil // Somebody deletes the unfinished Workflow,
	require.NotNil(t, w.pass())
	assert.Equal(t, "modelhub/resnet:v1c072d5e", w.mv.Status.Image)

	w.becomes(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return wf.FailedWithoutReport(contract.StepBuild)
	})
	w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"} // or asks for another.
	require.NotNil(t, w.pass())
	assert.Equal(t, "modelhub/resnet:v1c072d5e", w.mv.Status.Image)
}

func TestAnUnfinishedBuildIsRestartedABoundedNumberOfTimes(t *testing.T) {
	w := newWorld(t)
	attempts := 0
	for w.pass() != nil {
		attempts++
		require.Less(t, attempts, 100)
		w.workflows = nil
	}
	assert.Equal(t, 4, attempts, "the first and three more")
	assert.Equal(t, v1alpha1.ImageBuildFailed, w.mv.Status.ImageBuildPhase)

	w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
	for w.pass() != nil {
		attempts++
		require.Less(t, attempts, 100)
		w.workflows = nil
	}
	assert.Equal(t, 8, attempts, "a person's wish begins the count anew")
}

func TestAWishForANewAttemptIsHeardAfterAFolderWasMissing(t *testing.T) {
	w := newWorld(t)
	w.missesFolder(w.pass())
	require.Nil(t, w.pass(), "kubelet may be quicker than Argo, which says only later that the Workflow runs")
	require.Contains(t, w.mv.Status.Message, "has no directory /foo")

	// The pod, and with it the word of kubelet, goes before the Workflow ends.
	w.mountFailure = nil
	w.workflows[0].Spec.Shutdown = wfv1.ShutdownStrategyTerminate
	require.Nil(t, w.becomes(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper { return wf.Running("") }))
	require.Contains(t, w.mv.Status.Message, "has no directory /foo", "it is on its way out")

	terminated := (*builders.WorkflowWrapper).Terminated
	require.Nil(t, w.becomes(terminated))
	require.Contains(t, w.mv.Status.Message, "has no directory /foo", "the operator has ended it, and not a person")

	w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
	require.NotNil(t, w.pass())
	assert.Equal(t, v1alpha1.ImageBuilding, w.mv.Status.ImageBuildPhase)
	require.Nil(t, w.becomes(terminated))
	assert.Contains(t, w.mv.Status.Message, "was terminated", "a person has ended this one")
}

// Pods and Workflows are watched apart: the pod may be seen to be gone before
// its Workflow is seen to have been told to end.
func TestAMissingFolderIsNotForgottenWhileTheWorkflowEnds(t *testing.T) {
	w := newWorld(t)
	w.missesFolder(w.pass())
	require.Nil(t, w.becomes(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper { return wf.Running("") }))

	w.mountFailure = nil
	require.Nil(t, w.pass())
	assert.Contains(t, w.mv.Status.Message, "has no directory /foo")
}

func TestAWishThatIsTakenBackStartsNothing(t *testing.T) {
	w := newWorld(t)
	w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "once"}
	require.NotNil(t, w.pass())
	require.Nil(t, w.becomes((*builders.WorkflowWrapper).Stopped))

	w.mv.Annotations = nil
	assert.Nil(t, w.pass())
}

// The status of a pass may never be written: the operator was killed, or lost
// a race. The Workflows say what it did.
func TestALostStatusStartsNoSecondBuild(t *testing.T) {
	w := newWorld(t)
	w.pass()
	w.mv.Status = v1alpha1.ModelVersionStatus{}
	assert.Nil(t, w.pass())
	assert.Equal(t, "mv-3-1c072-1", w.mv.Status.Workflow.Name)
	assert.EqualValues(t, 1, w.mv.Status.Attempts)

	w.becomes(takenTag)
	require.Len(t, w.workflows, 2)
	w.mv.Status = v1alpha1.ModelVersionStatus{}
	assert.Nil(t, w.pass())
	assert.Equal(t, "mv-3-1c072-2", w.mv.Status.Workflow.Name)
	assert.EqualValues(t, 2, w.mv.Status.Attempts)
}

func TestAVersionThatIsReadyStaysReady(t *testing.T) {
	for name, change := range map[string]func(*world){
		"its Workflow is deleted":    func(w *world) { w.workflows = nil },
		"a new attempt is asked for": func(w *world) { w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"} },
		"its Workflow is retried, and fails": func(w *world) {
			retried := builders.FromWorkflow(w.workflows[0]).Retried(builders.Epoch.Add(time.Hour))
			w.workflows[0] = retried.FailedWithoutReport(contract.StepMountCheck).Obj()
		},
		"its Workflow is resubmitted, and fails": func(w *world) {
			resubmitted := builders.FromWorkflow(w.workflows[0]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour))
			w.workflows = append(w.workflows, resubmitted.FailedWithoutReport(contract.StepMountCheck).Obj())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.pass()
			w.becomes(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper { return wf.Succeeded(wf.Report()) })
			ready := w.mv.Status
			require.Equal(t, v1alpha1.ImageBuildSucceeded, ready.ImageBuildPhase)

			change(w)
			assert.Nil(t, w.pass())
			assert.Equal(t, ready, w.mv.Status)
		})
	}
}

// What a status remembers is not undone by the Workflows that are left.
func TestTheAttemptBeforeADeletedOneIsHistory(t *testing.T) {
	failed := func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return wf.FailedWithoutReport(contract.StepBuild)
	}

	t.Run("when the deleted one had failed", func(t *testing.T) {
		w := newWorld(t)
		w.pass()
		w.becomes(failed)
		w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
		w.pass()
		w.becomes(failed)
		before := w.mv.Status
		require.Equal(t, "mv-3-1c072-2", before.Workflow.Name)

		w.workflows = w.workflows[:1]
		assert.Nil(t, w.pass())
		assert.Equal(t, before, w.mv.Status)
	})

	t.Run("when the deleted one had not ended", func(t *testing.T) {
		w := newWorld(t)
		w.pass()
		w.becomes(failed)
		w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
		attempts := 0
		for w.pass() != nil {
			attempts++
			require.Less(t, attempts, 100)
			w.workflows = w.workflows[:1]
		}
		assert.Equal(t, 4, attempts, "the one that was asked for and three more")
		assert.Equal(t, v1alpha1.ReasonWorkflowDeleted, w.mv.Status.Conditions[0].Reason)
	})

	t.Run("when the deleted one was a resubmit that had not ended", func(t *testing.T) {
		w := newWorld(t)
		w.pass()
		w.becomes(failed)
		first := w.workflows[0]
		w.workflows = append(w.workflows, builders.FromWorkflow(first).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj())
		w.pass()
		require.Equal(t, "mv-3-1c072-1-x7k2p", w.mv.Status.Workflow.Name)

		w.workflows = w.workflows[:1]
		assert.NotNil(t, w.pass(), "it is started again, as any")
	})

	t.Run("but not when it is started again", func(t *testing.T) {
		w := newWorld(t)
		w.pass()
		w.becomes(failed)
		w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
		w.pass()
		w.becomes(failed)

		w.workflows[0] = builders.FromWorkflow(w.workflows[0]).Retried(builders.Epoch.Add(time.Hour)).Obj()
		assert.Nil(t, w.pass())
		assert.Equal(t, "mv-3-1c072-1", w.mv.Status.Workflow.Name)
	})
}

func TestARetryOfAnOldAttemptDoesNotForgetWhatWasAskedFor(t *testing.T) {
	w := newWorld(t)
	w.pass()
	w.becomes((*builders.WorkflowWrapper).Stopped)
	w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
	w.mv.Generation = 2
	w.pass()
	w.becomes((*builders.WorkflowWrapper).Stopped)
	w.workflows[0] = builders.FromWorkflow(w.workflows[0]).Retried(builders.Epoch.Add(time.Hour)).FailedWithoutReport(contract.StepBuild).Obj()
	require.Nil(t, w.pass())
	require.Equal(t, "mv-3-1c072-1", w.mv.Status.Workflow.Name)

	w.workflows = w.workflows[:1] // A TTL takes the attempt that was asked for.
	assert.Nil(t, w.pass())
}

func TestAFailedVersionStaysFailedWithoutArgo(t *testing.T) {
	w := newWorld(t)
	w.pass()
	w.becomes((*builders.WorkflowWrapper).Stopped)
	before := w.mv.Status
	without := lifecycle.Observed{Version: w.mv, ArgoMissing: true}

	w.mv = after(w.mv, nextStep(without, options))
	assert.Equal(t, before, w.mv.Status)

	w.mv.Annotations = map[string]string{v1alpha1.AnnotationRebuild: "again"}
	without.Version = w.mv
	w.mv = after(w.mv, nextStep(without, options))
	require.Equal(t, v1alpha1.ReasonArgoMissing, w.mv.Status.Conditions[0].Reason, "what was asked for waits for Argo")

	w.mv.Annotations, w.workflows = nil, nil // It is no longer asked for, and Argo's Workflows have gone with its kinds.
	require.Nil(t, w.pass())
	assert.Equal(t, v1alpha1.ReasonWorkflowFailed, w.mv.Status.Conditions[0].Reason)
	assert.Contains(t, w.mv.Status.Message, "The last build failed, and its Workflow was deleted")
}

// The status is written before the Workflow is told to end.
func TestAWorkflowThatWasNotToldToEndIsToldAgain(t *testing.T) {
	w := newWorld(t)
	w.missesFolder(w.pass())
	w.mv = after(w.mv, w.next())
	require.Contains(t, w.mv.Status.Message, "has no directory /foo")

	assert.NotNil(t, w.next().Terminate)
	w.mountFailure = nil
	assert.NotNil(t, w.next().Terminate)
	w.workflows[0].Spec.Shutdown = wfv1.ShutdownStrategyTerminate
	assert.Nil(t, w.next().Terminate)
}

func TestABuildGoesOnWhenItsTemplateIsMarkedAgain(t *testing.T) {
	w := newWorld(t)
	w.mv.Spec.Build = &v1alpha1.Build{WorkflowTemplate: "modelkiln-build-scanned"}
	o := func(marked bool) lifecycle.Observed {
		return lifecycle.Observed{Version: w.mv, TemplateFound: true, TemplateMarked: marked}
	}
	s := nextStep(o(true), options)
	require.NotNil(t, s.Create)
	w.mv = after(w.mv, s) // Somebody deletes the unfinished Workflow,
	s = nextStep(o(false), options)
	require.Nil(t, s.Create) // while the template is not marked.
	w.mv = after(w.mv, s)

	assert.NotNil(t, nextStep(o(true), options).Create)
}

func TestATemplateThatArgoHasNotSeenYetIsLookedForAgain(t *testing.T) {
	w := newWorld(t)
	w.pass()
	notSeen := func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return wf.Errored(`clusterworkflowtemplates.argoproj.io "modelkiln-build" not found`)
	}
	for range 3 {
		require.NotNil(t, w.becomes(notSeen))
		assert.Equal(t, v1alpha1.ImageBuilding, w.mv.Status.ImageBuildPhase)
	}
	assert.Nil(t, w.becomes(notSeen), "so often, and no more")
	assert.Equal(t, v1alpha1.ReasonWorkflowError, w.mv.Status.Conditions[0].Reason)

	another := newWorld(t)
	another.pass()
	assert.Nil(t, another.becomes(func(wf *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return wf.Errored(`configmaps "artifact-repositories" not found`)
	}))
}

func TestNameConflict(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	got := lifecycle.NameConflict(mv, "mv-3-1c072-1")
	assert.Equal(t, v1alpha1.ImageBuildFailed, got.ImageBuildPhase)
	assert.Equal(t, v1alpha1.ReasonWorkflowNameConflict, got.Conditions[0].Reason)
	assert.Equal(t, `Workflow mv-3-1c072-1 exists and does not belong to this ModelVersion. To replace it with the build: kubectl delete wf -n default mv-3-1c072-1 && kubectl annotate mv -n default mv-3 model.kubedl.io/rebuild="$(date +%s)" --overwrite`, got.Message)
}
