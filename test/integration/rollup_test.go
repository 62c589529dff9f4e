package integration

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// applyNamed makes a version of this name, and waits for its Workflow.
func (s scene) applyNamed(name string) *wfv1.Workflow {
	s.t.Helper()
	mv := s.apply(localVersion, set("metadata.name", name))
	wf := s.argo.awaitAttempt(mv, 1)
	s.awaitFollows(name, wf, "")
	return wf
}

// nextSecond waits until what is created next is younger by its time stamp,
// which counts seconds, than what was created before.
func nextSecond(t *testing.T, after *v1alpha1.ModelVersion) {
	t.Helper()
	require.Eventually(t, func() bool { return time.Now().Unix() > after.CreationTimestamp.Unix() }, deadline, tick)
}

func TestAModelNamesItsLatestVersion(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("which is the newest that succeeded, whatever succeeds when", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		// By name the newest is the first.
		oldest := s.applyNamed("c")
		nextSecond(t, s.version("c"))
		middle := s.applyNamed("b")
		nextSecond(t, s.version("b"))
		newest := s.applyNamed("a")

		s.buildSucceeds(middle)
		s.awaitLatest("resnet", s.latest("b"))

		s.buildSucceeds(oldest)
		op.settles(t, shared)
		assert.Equal(t, s.latest("b"), s.model("resnet").Status.LatestVersion, "a late success of an old version moves nothing")

		s.argo.runs(newest, contract.StepBuild)
		s.awaitReason("a", v1alpha1.ReasonWorkflowRunning)
		s.buildFails(newest, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
		op.settles(t, shared)
		assert.Equal(t, s.latest("b"), s.model("resnet").Status.LatestVersion, "a failure moves nothing")

		s.buildSucceeds(s.argo.retry(newest))
		s.awaitLatest("resnet", s.latest("a"))
	})

	t.Run("which is rolled back when that is deleted, to none in the end", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.argo.succeeds(s.applyNamed("resnet-1"))
		s.argo.succeeds(s.applyNamed("resnet-2"))
		s.awaitReason("resnet-1", v1alpha1.ReasonSucceeded)
		s.awaitReason("resnet-2", v1alpha1.ReasonSucceeded)
		s.awaitLatest("resnet", s.latest("resnet-2"))

		require.NoError(t, s.client.Delete(t.Context(), s.version("resnet-2")))
		s.awaitLatest("resnet", s.latest("resnet-1"))

		require.NoError(t, s.client.Delete(t.Context(), s.version("resnet-1")))
		s.awaitLatest("resnet", nil)
	})

	t.Run("which is rolled back as soon as that is being deleted", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.buildSucceeds(s.applyNamed("resnet-1"))
		s.awaitLatest("resnet", s.latest("resnet-1"))
		mv := s.edit("resnet-1", func(mv *v1alpha1.ModelVersion) { mv.Finalizers = []string{"example.com/hold"} })
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.awaitLatest("resnet", nil)
		s.edit("resnet-1", func(mv *v1alpha1.ModelVersion) { mv.Finalizers = nil })
	})

	t.Run("which is not what somebody else wrote there", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.buildSucceeds(s.applyNamed("resnet-1"))
		want := s.latest("resnet-1")
		s.awaitLatest("resnet", want)

		m := s.model("resnet")
		m.Status.LatestVersion = &v1alpha1.LatestVersion{ModelVersion: "forged", ImageName: "modelhub/forged:v1"}
		require.NoError(t, s.client.Status().Update(t.Context(), m))

		s.awaitLatest("resnet", want)
	})

	t.Run("which a Model that is made after its versions names too", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.buildSucceeds(s.applyNamed("resnet-1"))
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))

		require.NoError(t, s.client.Create(t.Context(), object(t, s.namespace, model)))

		s.awaitLatest("resnet", s.latest("resnet-1"))
	})
}

// What a garbage collector would go by is asserted, and its work is done by
// hand: owners first, as it does it in the background.
func TestADeletedModelTakesEverythingWithIt(t *testing.T) {
	op := startOperator(t, shared)
	s := newScene(t, shared)
	built, running := s.applyNamed("resnet-1"), s.applyNamed("resnet-2")
	s.buildSucceeds(built)
	s.argo.runs(running, contract.StepBuild)
	s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowRunning)
	pod := s.argo.startsPod(running)
	m := s.model("resnet")
	s.awaitLatest("resnet", s.latest("resnet-1"))

	for _, wf := range []*wfv1.Workflow{built, running} {
		mv := s.version(metav1.GetControllerOf(wf).Name)
		assert.Equal(t, mv.UID, metav1.GetControllerOf(wf).UID)
		assert.Nil(t, metav1.GetControllerOf(wf).BlockOwnerDeletion)
		require.Len(t, mv.OwnerReferences, 1)
		assert.Equal(t, m.UID, mv.OwnerReferences[0].UID)
		assert.Nil(t, mv.OwnerReferences[0].BlockOwnerDeletion)
		assert.Empty(t, mv.Finalizers)
		assert.Empty(t, wf.Finalizers)
	}

	before := op.wire.changes(s.namespace)
	for _, o := range []client.Object{m, s.version("resnet-1"), s.version("resnet-2"), built, running, pod} {
		require.NoError(t, s.client.Delete(t.Context(), o))
		op.settles(t, shared)
	}
	s.absent("resnet", &v1alpha1.Model{})
	s.absent("resnet-1", &v1alpha1.ModelVersion{})
	s.absent("resnet-2", &v1alpha1.ModelVersion{})
	assert.Empty(t, s.argo.workflows())
	assert.Equal(t, before, op.wire.changes(s.namespace))
}
