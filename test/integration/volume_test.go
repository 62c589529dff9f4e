package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func withEFS() func(*settings) {
	return withConfig(func(c *config.Config) { c.AllowedEFS = []string{"fs-12345678"} })
}

// claim is the claim that the operator has made for a version.
func (s scene) claim(mv *v1alpha1.ModelVersion) *corev1.PersistentVolumeClaim {
	s.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	s.get(s.t, workflow.VolumeName(mv), claim)
	return claim
}

// persistentVolume is the PersistentVolume that the operator has made for a
// version, which goes with the test.
func (s scene) persistentVolume(mv *v1alpha1.ModelVersion) *corev1.PersistentVolume {
	s.t.Helper()
	volume := &corev1.PersistentVolume{}
	require.NoError(s.t, s.client.Get(s.t.Context(), client.ObjectKey{Name: workflow.VolumeName(mv)}, volume))
	s.t.Cleanup(func() {
		assert.NoError(s.t, client.IgnoreNotFound(s.client.Delete(context.WithoutCancel(s.t.Context()), volume.DeepCopy())))
	})
	return volume
}

// binds binds a PersistentVolume to a claim, as Kubernetes does.
func (s scene) binds(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) {
	s.t.Helper()
	before := volume.DeepCopy()
	volume.Spec.ClaimRef.UID = claim.UID
	require.NoError(s.t, s.client.Patch(s.t.Context(), volume, client.MergeFrom(before)))
}

// awaitReleased waits until an object is being deleted, and lets it go as
// Kubernetes' protection of storage in use does when nothing uses it.
func (s scene) awaitReleased(o client.Object) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		err := s.client.Get(s.t.Context(), client.ObjectKeyFromObject(o), o)
		if apierrors.IsNotFound(err) {
			return
		}
		require.NoError(c, err)
		require.NotNil(c, o.GetDeletionTimestamp(), "%T %s is not being deleted", o, o.GetName())
		before := o.DeepCopyObject().(client.Object)
		o.SetFinalizers(nil)
		require.NoError(c, s.client.Patch(s.t.Context(), o, client.MergeFrom(before)))
		assert.True(c, apierrors.IsNotFound(s.client.Get(s.t.Context(), client.ObjectKeyFromObject(o), o)))
	}, deadline, tick)
}

// awaitGone waits until a version is gone.
func (s scene) awaitGone(mv *v1alpha1.ModelVersion) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return apierrors.IsNotFound(s.client.Get(s.t.Context(), client.ObjectKeyFromObject(mv), &v1alpha1.ModelVersion{}))
	}, deadline, tick, "ModelVersion %s is still there", mv.Name)
}

func TestAnElasticFileSystemIsAVolumeOfTheVersion(t *testing.T) {
	startOperator(t, shared, withEFS())

	t.Run("which is built from, and goes with it", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion, set("spec.storage.AWSEfs.attributes", map[string]any{"encryptInTransit": "true"}))
		wf := s.argo.awaitOnlyWorkflow()
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)

		claim, volume := s.claim(mv), s.persistentVolume(mv)
		assert.Equal(t, []string{v1alpha1.FinalizerVolume}, mv.Finalizers)
		assert.True(t, metav1.IsControlledBy(claim, mv))
		assert.Equal(t, volume.Name, claim.Spec.VolumeName)
		assert.Equal(t, [2]string{claim.Namespace, claim.Name}, [2]string{volume.Spec.ClaimRef.Namespace, volume.Spec.ClaimRef.Name})
		assert.Equal(t, corev1.PersistentVolumeReclaimRetain, volume.Spec.PersistentVolumeReclaimPolicy)
		assert.Equal(t, &corev1.CSIPersistentVolumeSource{
			Driver: "efs.csi.aws.com", VolumeHandle: "fs-12345678", VolumeAttributes: map[string]string{"encryptInTransit": "true"},
		}, volume.Spec.CSI)
		assert.Equal(t, claim.Name, wf.Spec.Arguments.GetParameterByName(contract.ParamClaimName).Value.String())

		s.buildSucceeds(wf)
		assert.Nil(t, s.claim(mv).DeletionTimestamp, "it is there as long as the version is: somebody may resubmit")
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.awaitReleased(claim)
		s.awaitReleased(volume)
		s.awaitGone(mv)
	})

	t.Run("which an attempt after the first finds", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion)
		mv := s.buildFails(s.argo.awaitOnlyWorkflow(), contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		claim, volume := s.claim(mv), s.persistentVolume(mv)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.buildSucceeds(s.argo.awaitAttempt(mv, 2))

		assert.Equal(t, claim.UID, s.claim(mv).UID)
		assert.Equal(t, volume.UID, s.persistentVolume(mv).UID)
	})

	t.Run("and of no version of the same name", func(t *testing.T) {
		t.Parallel()
		a, b := newScene(t, shared), newScene(t, shared)
		volumes := map[types.UID]bool{}
		for _, s := range []scene{a, b} {
			s.apply(efsVersion)
			s.argo.awaitOnlyWorkflow()
			mv := s.version(resnet)
			volume := s.persistentVolume(mv)
			volumes[volume.UID] = true
			assert.Equal(t, s.namespace, volume.Spec.ClaimRef.Namespace)
			assert.Equal(t, s.claim(mv).Name, volume.Spec.ClaimRef.Name)
		}
		assert.Len(t, volumes, 2)
	})

	// Pods still use the first one's: both are being deleted, and there.
	t.Run("not of one that was deleted and made again", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion)
		s.argo.awaitOnlyWorkflow()
		first := s.version(resnet)
		claim, volume := s.claim(first), s.persistentVolume(first)
		require.NoError(t, s.client.Delete(t.Context(), first))
		s.awaitGone(first)

		second := s.apply(efsVersion)
		s.argo.awaitAttempt(second, 1)

		assert.NotEqual(t, claim.Name, s.claim(second).Name)
		assert.Equal(t, s.claim(second).Name, s.persistentVolume(second).Spec.ClaimRef.Name)
		assert.Nil(t, s.persistentVolume(second).DeletionTimestamp)
		s.awaitReleased(claim)
		s.awaitReleased(volume)
	})

	t.Run("and nothing is left of it when its Model is deleted meanwhile", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion)
		s.argo.awaitOnlyWorkflow()
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		claim, volume := s.claim(mv), s.persistentVolume(mv)
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))
		// As the garbage collector does, of which none runs here.
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.awaitGone(mv)
		s.awaitReleased(claim)
		s.awaitReleased(volume)
	})

	t.Run("whether it is still there or not", func(t *testing.T) {
		t.Parallel()
		for name, gone := range map[string]func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) []client.Object{
			"without its PersistentVolume": func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) []client.Object {
				return []client.Object{v}
			},
			"without its claim": func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) []client.Object {
				return []client.Object{c}
			},
			"without both": func(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) []client.Object {
				return []client.Object{c, v}
			},
		} {
			s := newScene(t, shared)
			s.apply(efsVersion)
			s.argo.awaitOnlyWorkflow()
			mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
			claim, volume := s.claim(mv), s.persistentVolume(mv)
			for _, object := range gone(claim, volume) {
				require.NoError(t, s.client.Delete(t.Context(), object), name)
				s.awaitReleased(object)
			}
			require.NoError(t, s.client.Delete(t.Context(), mv))

			s.awaitGone(mv)
			s.awaitReleased(claim)
			s.awaitReleased(volume)
		}
	})

	t.Run("beside what others have put on the version", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion, set("metadata.finalizers", []any{"example.com/backup"}))
		s.argo.awaitOnlyWorkflow()
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, []string{"example.com/backup", v1alpha1.FinalizerVolume}, mv.Finalizers)
		claim, volume := s.claim(mv), s.persistentVolume(mv)
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.awaitReleased(claim)
		s.awaitReleased(volume)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, []string{"example.com/backup"}, mv.Finalizers)
		}, deadline, tick)
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Finalizers = nil })
		s.awaitGone(mv)
	})

	t.Run("and is made anew where a person has deleted the claim", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion)
		mv := s.buildFails(s.argo.awaitOnlyWorkflow(), contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		claim, volume := s.claim(mv), s.persistentVolume(mv)
		s.binds(claim, volume)
		require.NoError(t, s.client.Delete(t.Context(), claim))
		s.awaitReleased(claim)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.awaitReleased(volume)
		s.argo.awaitAttempt(mv, 2)

		assert.NotEqual(t, claim.UID, s.claim(mv).UID)
		assert.NotEqual(t, claim.UID, s.persistentVolume(mv).Spec.ClaimRef.UID)
	})

	// A claim that has lost what it was bound to takes back only what names it.
	t.Run("and is made anew where a person has deleted the PersistentVolume", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(efsVersion)
		mv := s.buildFails(s.argo.awaitOnlyWorkflow(), contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		claim, volume := s.claim(mv), s.persistentVolume(mv)
		s.binds(claim, volume)
		require.NoError(t, s.client.Delete(t.Context(), volume))
		s.awaitReleased(volume)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.argo.awaitAttempt(mv, 2)

		assert.Equal(t, claim.UID, s.claim(mv).UID)
		assert.Equal(t, claim.UID, s.persistentVolume(mv).Spec.ClaimRef.UID)
	})

	t.Run("which no other storage has", func(t *testing.T) {
		t.Parallel()
		for name, manifest := range map[string]string{"a node's folder": localVersion, "an NFS server's": nfsVersion, "a claim": claimVersion} {
			s := newScene(t, shared)
			s.apply(manifest)
			s.argo.awaitOnlyWorkflow()
			mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
			assert.Empty(t, mv.Finalizers, name)
			s.absent(workflow.VolumeName(mv), &corev1.PersistentVolumeClaim{})
		}
	})
}

func TestAClaimThatIsInTheWayIsLeftAlone(t *testing.T) {
	s := newScene(t, shared)
	mv := s.apply(efsVersion)
	theirs := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: workflow.VolumeName(mv)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}
	require.NoError(t, s.client.Create(t.Context(), theirs))
	startOperator(t, shared, withEFS())

	mv = s.awaitReason(resnet, v1alpha1.ReasonRefused)
	assert.Equal(t, waiting, states(mv))
	assert.Contains(t, mv.Status.Message, fmt.Sprintf(`persistentvolumeclaims "%s" already exists`, theirs.Name))
	assert.Empty(t, s.argo.workflows())

	require.NoError(t, s.client.Delete(t.Context(), theirs))
	s.awaitReleased(theirs)
	s.argo.awaitOnlyWorkflow()
	assert.True(t, metav1.IsControlledBy(s.claim(mv), mv))
	s.persistentVolume(mv)
}

// A version whose deletion nobody attends to is there until somebody does.
func TestAnOperatorThatWasNotThereFinishesADeletion(t *testing.T) {
	s := newScene(t, shared)
	op := startOperator(t, shared, withEFS())
	s.apply(efsVersion)
	s.argo.awaitOnlyWorkflow()
	mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
	claim, volume := s.claim(mv), s.persistentVolume(mv)
	op.stop()
	require.NoError(t, s.client.Delete(t.Context(), mv))
	assert.Equal(t, []string{v1alpha1.FinalizerVolume}, s.version(resnet).Finalizers)

	// What the platform team allows by then does not matter.
	startOperator(t, shared)
	s.awaitGone(mv)
	s.awaitReleased(claim)
	s.awaitReleased(volume)
}

// An operator dies at every write until there is a build. The next one makes
// nothing twice, and what was made can always be found by the finalizer.
func TestAnOperatorThatDiesMakesNoSecondVolume(t *testing.T) {
	// The Model, the version's owner, three objects for the namespace, the
	// finalizer, the claim, the Workflow. The PersistentVolume, which is in no
	// namespace, goes before the claim.
	const writes = 8
	w := newWire()
	scenes := map[string]scene{}
	for write := 1; write <= writes; write++ {
		for _, arrives := range []bool{false, true} {
			s := newScene(t, shared)
			w.cuts[s.namespace] = &cut{write: write, arrives: arrives}
			scenes[fmt.Sprintf("at write %d, which arrives: %t", write, arrives)] = s
		}
	}
	op := startOperator(t, shared, withEFS(), withWire(w))
	for _, s := range scenes {
		s.apply(efsVersion)
	}
	for name, s := range scenes {
		require.Eventually(t, func() bool { return w.wasCut(s.namespace) }, deadline, tick, name)
		mv := s.version(resnet)
		err := s.client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: workflow.VolumeName(mv)}, &corev1.PersistentVolumeClaim{})
		require.NoError(t, client.IgnoreNotFound(err))
		assert.True(t, err != nil || controllerutil.ContainsFinalizer(mv, v1alpha1.FinalizerVolume), "%s: a claim without a finalizer", name)
	}
	op.stop()
	startOperator(t, shared, withEFS())
	for name, s := range scenes {
		s.argo.awaitOnlyWorkflow()
		mv := s.version(resnet)
		assert.Equal(t, s.claim(mv).Name, s.persistentVolume(mv).Spec.ClaimRef.Name, name)
		var claims corev1.PersistentVolumeClaimList
		require.NoError(t, s.client.List(t.Context(), &claims, client.InNamespace(s.namespace)))
		assert.Len(t, claims.Items, 1, name)
	}
}
