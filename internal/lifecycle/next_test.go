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

var tagTaken = failing(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag holds another image")

func TestNextStepAutomaticTagTaken(t *testing.T) {
	s := newScenario(t)
	require.NotNil(t, s.pass())
	var images []string
	for s.mv().Status.ImageBuildPhase == v1alpha1.ImageBuilding {
		images = append(images, s.mv().Status.Image)
		s.updatePass(tagTaken)
	}
	want := []string{
		"modelhub/resnet:v1c072",
		"modelhub/resnet:v1c072d5e",
		"modelhub/resnet:v1c072d5e8a414f0b",
		"modelhub/resnet:v1c072d5e8a414f0b9c365d2e7f1a0b94",
	}
	assert.Equal(t, want, images)
	assert.EqualValues(t, 4, s.mv().Status.Attempts)
	assert.Nil(t, s.pass(), "no longer tag is left")
}

func TestNextStepKeepsLongerTag(t *testing.T) {
	s := newScenario(t)
	s.pass()
	require.NotNil(t, s.updatePass(tagTaken))
	require.Equal(t, "modelhub/resnet:v1c072d5e", s.mv().Status.Image)

	s.observed.Workflows = nil // A user deletes the unfinished Workflow,
	require.NotNil(t, s.pass())
	assert.Equal(t, "modelhub/resnet:v1c072d5e", s.mv().Status.Image)

	s.updatePass(failingWithoutReport(contract.StepBuild))
	s.requestRebuild() // or requests another attempt.
	require.NotNil(t, s.pass())
	assert.Equal(t, "modelhub/resnet:v1c072d5e", s.mv().Status.Image)
}

func TestNextStepRebuildResetsRestarts(t *testing.T) {
	s := newScenario(t)
	count := func() (attempts int) {
		for s.pass() != nil {
			attempts++
			require.Less(t, attempts, 100)
			s.observed.Workflows = nil
		}
		return attempts
	}
	assert.Equal(t, 4, count(), "the first attempt and three restarts")
	assert.Equal(t, v1alpha1.ImageBuildFailed, s.mv().Status.ImageBuildPhase)

	s.requestRebuild()
	assert.Equal(t, 4, count())
}

func TestNextStepRebuildAfterMissingDirectory(t *testing.T) {
	const missing = "has no directory /foo"
	s := newScenario(t)
	s.pass()
	s.missesDirectory()
	require.Nil(t, s.pass(), "kubelet can report before Argo marks the Workflow as running")
	require.Contains(t, s.mv().Status.Message, missing)

	// The pod and its events are gone before the Workflow has ended.
	s.observed.MountFailure = nil
	s.observed.Workflows[0].Spec.Shutdown = wfv1.ShutdownStrategyTerminate
	require.Nil(t, s.updatePass(runningStep("")))
	require.Contains(t, s.mv().Status.Message, missing, "the Workflow is ending")

	require.Nil(t, s.updatePass((*builders.WorkflowWrapper).Terminated))
	require.Contains(t, s.mv().Status.Message, missing, "the operator terminated it, not a user")

	s.requestRebuild()
	require.NotNil(t, s.pass())
	assert.Equal(t, v1alpha1.ImageBuilding, s.mv().Status.ImageBuildPhase)
	require.Nil(t, s.updatePass((*builders.WorkflowWrapper).Terminated))
	assert.Contains(t, s.mv().Status.Message, "was terminated", "a user terminated this one")
}

// Pods and Workflows are watched separately. The cache can show that the pod is
// gone before it shows that its Workflow is being terminated.
func TestNextStepKeepsMissingDirectory(t *testing.T) {
	s := newScenario(t)
	s.pass()
	s.missesDirectory()
	require.Nil(t, s.updatePass(runningStep("")))

	s.observed.MountFailure = nil
	require.Nil(t, s.pass())
	assert.Contains(t, s.mv().Status.Message, "has no directory /foo")
}

func TestNextStepRebuildWithdrawn(t *testing.T) {
	s := newScenario(t)
	s.requestRebuild()
	require.NotNil(t, s.pass())
	require.Nil(t, s.updatePass((*builders.WorkflowWrapper).Stopped))

	s.mv().Annotations = nil
	assert.Nil(t, s.pass())
}

// The status of a pass is lost if the operator is killed or its patch conflicts.
// The next pass restores it from the Workflows.
func TestNextStepRestoresLostStatus(t *testing.T) {
	s := newScenario(t)
	s.pass()
	s.mv().Status = v1alpha1.ModelVersionStatus{}
	assert.Nil(t, s.pass())
	assert.Equal(t, "mv-3-1c072-1", s.mv().Status.Workflow.Name)
	assert.EqualValues(t, 1, s.mv().Status.Attempts)

	s.updatePass(tagTaken)
	require.Len(t, s.observed.Workflows, 2)
	s.mv().Status = v1alpha1.ModelVersionStatus{}
	assert.Nil(t, s.pass())
	assert.Equal(t, "mv-3-1c072-2", s.mv().Status.Workflow.Name)
	assert.EqualValues(t, 2, s.mv().Status.Attempts)
}

func TestNextStepReadyIgnoresFailedRetry(t *testing.T) {
	s := newScenario(t)
	s.succeeded()
	ready := s.mv().Status
	require.Equal(t, v1alpha1.ImageBuildSucceeded, ready.ImageBuildPhase)

	s.update(retrying(failingWithoutReport(contract.StepMountCheck)))
	assert.Nil(t, s.pass())
	assert.Equal(t, ready, s.mv().Status)
}

// When the latest Workflow is deleted, the status does not go back to an earlier
// attempt.
func TestNextStepLatestWorkflowDeleted(t *testing.T) {
	failedTwice := func(t *testing.T) *scenario {
		s := newScenario(t)
		s.pass()
		s.updatePass(failingWithoutReport(contract.StepBuild))
		s.requestRebuild()
		s.pass()
		return s
	}

	t.Run("failed", func(t *testing.T) {
		s := failedTwice(t)
		s.updatePass(failingWithoutReport(contract.StepBuild))
		before := s.mv().Status
		require.Equal(t, "mv-3-1c072-2", before.Workflow.Name)

		s.observed.Workflows = s.observed.Workflows[:1]
		assert.Nil(t, s.pass())
		assert.Equal(t, before, s.mv().Status)
	})

	t.Run("unfinished", func(t *testing.T) {
		s := failedTwice(t)
		attempts := 1
		for s.observed.Workflows = s.observed.Workflows[:1]; s.pass() != nil; s.observed.Workflows = s.observed.Workflows[:1] {
			attempts++
			require.Less(t, attempts, 100)
		}
		assert.Equal(t, 4, attempts, "the requested attempt and three restarts")
		assert.Equal(t, v1alpha1.ReasonWorkflowDeleted, s.mv().Status.Conditions[0].Reason)
	})

	t.Run("unfinished resubmit", func(t *testing.T) {
		s := newScenario(t)
		s.failed()
		s.resubmit(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w })
		s.pass()
		require.Equal(t, "mv-3-1c072-1-x7k2p", s.mv().Status.Workflow.Name)

		s.observed.Workflows = s.observed.Workflows[:1]
		assert.NotNil(t, s.pass(), "a resubmit is restarted like any other attempt")
	})

	t.Run("earlier attempt retried", func(t *testing.T) {
		s := failedTwice(t)
		s.updatePass(failingWithoutReport(contract.StepBuild))
		s.observed.Workflows[0] = builders.FromWorkflow(s.observed.Workflows[0]).Retried(builders.Epoch.Add(time.Hour)).Obj()
		assert.Nil(t, s.pass())
		assert.Equal(t, "mv-3-1c072-1", s.mv().Status.Workflow.Name)
	})
}

func TestNextStepRebuildRequestIsServedOnce(t *testing.T) {
	s := newScenario(t)
	s.pass()
	s.updatePass((*builders.WorkflowWrapper).Stopped)
	s.requestRebuild()
	s.mv().Generation = 2
	s.pass()
	s.updatePass((*builders.WorkflowWrapper).Stopped)
	s.observed.Workflows[0] = retrying(failingWithoutReport(contract.StepBuild))(builders.FromWorkflow(s.observed.Workflows[0])).Obj()
	require.Nil(t, s.pass())
	require.Equal(t, "mv-3-1c072-1", s.mv().Status.Workflow.Name)

	s.observed.Workflows = s.observed.Workflows[:1] // Argo deletes the requested attempt after its TTL.
	assert.Nil(t, s.pass())
}

func TestNextStepFailedWhileArgoIsMissing(t *testing.T) {
	s := newScenario(t)
	s.pass()
	s.updatePass((*builders.WorkflowWrapper).Stopped)
	before := s.mv().Status
	s.observed.Workflows, s.observed.ArgoMissing = nil, true // Argo's CRDs are deleted with all Workflows.

	s.pass()
	assert.Equal(t, before, s.mv().Status)

	s.requestRebuild()
	s.pass()
	require.Equal(t, v1alpha1.ReasonArgoMissing, s.mv().Status.Conditions[0].Reason, "the request waits for Argo")

	s.mv().Annotations, s.observed.ArgoMissing = nil, false // The request is withdrawn.
	require.Nil(t, s.pass())
	assert.Equal(t, v1alpha1.ReasonWorkflowFailed, s.mv().Status.Conditions[0].Reason)
	assert.Contains(t, s.mv().Status.Message, "The last build failed, and its Workflow was deleted")
}

// The status is written before the Workflow is terminated.
func TestNextStepTerminatesAfterInterruptedPass(t *testing.T) {
	s := newScenario(t)
	s.pass()
	s.missesDirectory()
	s.write(s.next().Status)
	require.Contains(t, s.mv().Status.Message, "has no directory /foo")

	assert.NotNil(t, s.next().Terminate)
	s.observed.MountFailure = nil
	assert.NotNil(t, s.next().Terminate)
	s.observed.Workflows[0].Spec.Shutdown = wfv1.ShutdownStrategyTerminate
	assert.Nil(t, s.next().Terminate)
}

func TestNextStepTemplateMarkedAgain(t *testing.T) {
	s := newScenario(t)
	nameTemplate(s)
	s.observed.TemplateMarked = true
	require.NotNil(t, s.pass())

	s.observed.Workflows, s.observed.TemplateMarked = nil, false // Deleted while the template is not marked.
	require.Nil(t, s.pass())

	s.observed.TemplateMarked = true
	assert.NotNil(t, s.pass())
}

func TestNextStepTemplateNotInArgosCache(t *testing.T) {
	notSeen := func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Errored(`clusterworkflowtemplates.argoproj.io "modelkiln-build" not found`)
	}
	s := newScenario(t)
	s.pass()
	for range 3 {
		require.NotNil(t, s.updatePass(notSeen))
		assert.Equal(t, v1alpha1.ImageBuilding, s.mv().Status.ImageBuildPhase)
	}
	assert.Nil(t, s.updatePass(notSeen), "restarts are bounded")
	assert.Equal(t, v1alpha1.ReasonWorkflowError, s.mv().Status.Conditions[0].Reason)
}

func TestNameConflict(t *testing.T) {
	got := lifecycle.NameConflict(newScenario(t).observed, "mv-3-1c072-1")
	assert.Equal(t, v1alpha1.ImageBuildFailed, got.ImageBuildPhase)
	assert.Equal(t, v1alpha1.ReasonWorkflowNameConflict, got.Conditions[0].Reason)
	assert.Equal(t, `Workflow mv-3-1c072-1 exists and does not belong to this ModelVersion. To replace it with the build: kubectl delete wf -n default mv-3-1c072-1 && kubectl annotate mv -n default mv-3 model.kubedl.io/rebuild="$(date +%s)" --overwrite`, got.Message)
}

func TestRejected(t *testing.T) {
	got := lifecycle.Rejected(newScenario(t).mv(), "exceeded\nquota.")
	assert.Equal(t, v1alpha1.ReasonRefused, got.Conditions[0].Reason)
	assert.Equal(t, "The API server rejected a resource that the build needs; retrying: exceeded quota", got.Message)
}

func TestArgoMissing(t *testing.T) {
	got := lifecycle.ArgoMissing(newScenario(t).mv())
	assert.Equal(t, v1alpha1.ReasonArgoMissing, got.Conditions[0].Reason)
	assert.Contains(t, got.Message, "To install it: https://argo-workflows.readthedocs.io")
}

// Another Workflow can have the name of the attempt and the ModelVersion as its
// owner: a user can create it before the operator does.
func TestFollowIgnoresWhatDoesNotBuildTheVersion(t *testing.T) {
	for name, change := range map[string]func(*wfv1.Workflow){
		"no template": func(wf *wfv1.Workflow) { wf.Spec.WorkflowTemplateRef = nil },
		"templates of its own": func(wf *wfv1.Workflow) {
			wf.Spec.Templates = []wfv1.Template{{Name: contract.EntrypointTemplate}}
		},
		"another image": func(wf *wfv1.Workflow) {
			*wf = *builders.FromWorkflow(wf).Argument(contract.ParamImage, "other/image:v1").Obj()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			wf := s.next().Create
			wf.UID = "uid-of-another"
			change(wf)
			wf.Status.Phase = wfv1.WorkflowSucceeded
			got := lifecycle.Follow(s.observed, wf, options)
			assert.Equal(t, v1alpha1.ReasonWorkflowNameConflict, got.Conditions[0].Reason)
			assert.Nil(t, got.Workflow)
			assert.Empty(t, got.Image)
		})
	}
}

func TestNameConflictKeepsTheNodeOfTheTraining(t *testing.T) {
	s := newScenario(t)
	s.trainedOnUnknownNode(training("Complete", "", ""), trainingPod("a", "node-a", "0"))
	require.NotNil(t, s.next().Create)
	assert.Equal(t, "node-a", lifecycle.NameConflict(s.observed, "mv-3-1c072-1").NodeName)
}

// Users can edit the labels of a Workflow and Argo's times.
func TestNextStepOfEditedNumbersAndTimes(t *testing.T) {
	s := newScenario(t)
	wf := s.pass()
	require.NotNil(t, wf)
	wf.Labels[v1alpha1.LabelAttempt] = "9223372036854775807"
	wf.Annotations[v1alpha1.AnnotationGeneration] = "9223372036854775807"
	failed := builders.FromWorkflow(wf).FailedWithoutReport(contract.StepBuild).Obj()
	failed.Status.FinishedAt = metav1.NewTime(time.Date(9999, time.December, 31, 23, 0, 0, 0, time.FixedZone("", -3600*10)))
	s.observed.Workflows = []*wfv1.Workflow{failed}
	s.requestRebuild()
	next := s.pass()
	require.NotNil(t, next)
	assert.Equal(t, "2", next.Labels[v1alpha1.LabelAttempt], "the next attempt has the next number")
	assert.EqualValues(t, 2, s.mv().Status.Attempts)

	s.observed.Workflows = []*wfv1.Workflow{failed}
	assert.Nil(t, lifecycle.NextStep(lifecycle.Observed{Version: builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj(), Workflows: s.observed.Workflows, Followed: failed, Now: builders.Epoch}, options).Status.FinishTime, "no time that the API server rejects")
}

// The operator has terminated a Workflow, and a user retries it from a machine whose
// clock is ten minutes behind. The retry is not terminated again.
func TestNextStepRetryFromOtherClock(t *testing.T) {
	s := newScenario(t)
	missingDirectory(s)
	s.observed.MountFailure = nil
	s.updatePass((*builders.WorkflowWrapper).Terminated)
	require.Equal(t, v1alpha1.ReasonSourceMissing, lifecycle.ReadyReason(s.mv()))

	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Retried(s.mv().Status.StartTime.Add(-10 * time.Minute)).Running(contract.StepBuild)
	})
	step := s.next()
	assert.Nil(t, step.Terminate)
	assert.Equal(t, v1alpha1.ReasonWorkflowRunning, step.Status.Conditions[0].Reason)
}
