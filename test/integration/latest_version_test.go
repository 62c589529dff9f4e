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
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// startNamedBuild creates a ModelVersion of this name and waits for its
// Workflow.
func (s sandbox) startNamedBuild(name string) *wfv1.Workflow {
	s.t.Helper()
	mv := s.create(localVersion, set("metadata.name", name))
	wf := s.argo.awaitAttempt(mv, 1)
	s.awaitWorkflowPhase(name, wf, "")
	return wf
}

// awaitNextSecond waits until a new object gets a later creation time stamp,
// which counts seconds.
func awaitNextSecond(t *testing.T, after *v1alpha1.ModelVersion) {
	t.Helper()
	require.Eventually(t, func() bool { return time.Now().Unix() > after.CreationTimestamp.Unix() }, deadline, tick)
}

// Workflows that wait in Argo's queue compare with what is latest when they start. The
// next two are updated, and not all of them each time.
func TestLatestVersionForQueuedWorkflows(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	s.createTemplate(contract.StreamTemplate)
	versions := []string{"a", "b", "c", "d"}
	workflows := map[string]*wfv1.Workflow{}
	for _, name := range versions {
		mv := s.create(localVersion, set("metadata.name", name), build("engine", "Stream"))
		workflows[name] = s.argo.awaitAttempt(mv, 1)
		s.awaitWorkflowPhase(name, workflows[name], "")
	}
	previous := func(name string) string {
		s.refresh(t, workflows[name])
		return argument(workflows[name], contract.ParamPreviousImage)
	}
	s.completeBuild(workflows["a"])

	image := s.version("a").Status.Image
	want := workflow.Pinned(image, digest)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, []string{want, want}, []string{previous("b"), previous("c")})
	}, deadline, tick)
	op.drainQueue(t, shared)
	assert.Empty(t, previous("d"))
	s.completeBuild(workflows["b"])
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		newer := workflow.Pinned(s.version("b").Status.Image, digest)
		assert.Equal(c, []string{newer, newer}, []string{previous("c"), previous("d")})
	}, deadline, tick)
	s.completeBuild(workflows["d"])
}

func TestLatestVersion(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("is the newest that succeeded, in whatever order they succeed", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		// The order by name is the reverse of the order by age.
		oldest := s.startNamedBuild("c")
		awaitNextSecond(t, s.version("c"))
		middle := s.startNamedBuild("b")
		awaitNextSecond(t, s.version("b"))
		newest := s.startNamedBuild("a")

		s.completeBuild(middle)
		s.awaitLatest("resnet", s.latestVersion("b"))

		s.completeBuild(oldest)
		op.drainQueue(t, shared)
		assert.Equal(t, s.latestVersion("b"), s.model("resnet").Status.LatestVersion, "the late success of an older ModelVersion changes nothing")

		s.argo.runStep(newest, contract.StepBuild)
		s.awaitReason("a", v1alpha1.ReasonWorkflowRunning)
		s.failBuild(newest, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
		op.drainQueue(t, shared)
		assert.Equal(t, s.latestVersion("b"), s.model("resnet").Status.LatestVersion, "a failure changes nothing")

		s.completeBuild(s.argo.retry(newest))
		s.awaitLatest("resnet", s.latestVersion("a"))
	})

	t.Run("is rolled back when it is deleted, to none after the last", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.argo.completeWorkflow(s.startNamedBuild("resnet-1"))
		s.argo.completeWorkflow(s.startNamedBuild("resnet-2"))
		s.awaitReason("resnet-1", v1alpha1.ReasonSucceeded)
		s.awaitReason("resnet-2", v1alpha1.ReasonSucceeded)
		s.awaitLatest("resnet", s.latestVersion("resnet-2"))

		require.NoError(t, s.client.Delete(t.Context(), s.version("resnet-2")))
		s.awaitLatest("resnet", s.latestVersion("resnet-1"))

		require.NoError(t, s.client.Delete(t.Context(), s.version("resnet-1")))
		s.awaitLatest("resnet", nil)
	})

	t.Run("is rolled back as soon as its deletion begins", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.completeBuild(s.startNamedBuild("resnet-1"))
		s.awaitLatest("resnet", s.latestVersion("resnet-1"))
		mv := s.edit("resnet-1", func(mv *v1alpha1.ModelVersion) { mv.Finalizers = []string{"example.com/hold"} })
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.awaitLatest("resnet", nil)
		s.edit("resnet-1", func(mv *v1alpha1.ModelVersion) { mv.Finalizers = nil })
	})

	t.Run("is restored after another client changes it", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.completeBuild(s.startNamedBuild("resnet-1"))
		want := s.latestVersion("resnet-1")
		s.awaitLatest("resnet", want)

		m := s.model("resnet")
		m.Status.LatestVersion = &v1alpha1.LatestVersion{ModelVersion: "forged", ImageName: "modelhub/forged:v1"}
		require.NoError(t, s.client.Status().Update(t.Context(), m))

		s.awaitLatest("resnet", want)
	})

	t.Run("is set on a Model created after its ModelVersions", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.completeBuild(s.startNamedBuild("resnet-1"))
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))

		require.NoError(t, s.client.Create(t.Context(), newObject(t, s.namespace, model)))

		s.awaitLatest("resnet", s.latestVersion("resnet-1"))
	})
}

// The test checks the owner references that the garbage collector uses, and
// deletes the objects in its order: with background propagation, owners first.
func TestModelDeletion(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	built, running := s.startNamedBuild("resnet-1"), s.startNamedBuild("resnet-2")
	s.completeBuild(built)
	s.argo.runStep(running, contract.StepBuild)
	s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowRunning)
	pod := s.argo.createPod(running)
	m := s.model("resnet")
	s.awaitLatest("resnet", s.latestVersion("resnet-1"))

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

	before := op.transport.changes(s.namespace)
	for _, o := range []client.Object{m, s.version("resnet-1"), s.version("resnet-2"), built, running, pod} {
		require.NoError(t, s.client.Delete(t.Context(), o))
		op.drainQueue(t, shared)
	}
	s.assertAbsent("resnet", &v1alpha1.Model{})
	s.assertAbsent("resnet-1", &v1alpha1.ModelVersion{})
	s.assertAbsent("resnet-2", &v1alpha1.ModelVersion{})
	assert.Empty(t, s.argo.workflows())
	assert.Equal(t, before, op.transport.changes(s.namespace))
}
