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
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// withEFS allows the file system of efsVersion.
func withEFS() func(*settings) {
	return withConfig(func(c *config.Config) { c.AllowedEFS = []string{"fs-12345678"} })
}

// startEFSBuild creates a ModelVersion with AWSEfs storage, and returns it with
// its volume once its Workflow exists.
func (s sandbox) startEFSBuild(changes ...change) (*v1alpha1.ModelVersion, *corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	s.t.Helper()
	s.create(efsVersion, changes...)
	s.argo.awaitOnlyWorkflow()
	mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
	return mv, s.claim(mv), s.persistentVolume(mv)
}

// claim returns the PersistentVolumeClaim that the operator has created for a
// ModelVersion.
func (s sandbox) claim(mv *v1alpha1.ModelVersion) *corev1.PersistentVolumeClaim {
	s.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	s.get(s.t, workflow.VolumeName(mv), claim)
	return claim
}

// persistentVolume returns the PersistentVolume that the operator has created
// for a ModelVersion, and deletes it after the test.
func (s sandbox) persistentVolume(mv *v1alpha1.ModelVersion) *corev1.PersistentVolume {
	s.t.Helper()
	volume := &corev1.PersistentVolume{}
	require.NoError(s.t, s.client.Get(s.t.Context(), client.ObjectKey{Name: workflow.VolumeName(mv)}, volume))
	s.deleteAfterTest(volume)
	return volume
}

// bind binds a PersistentVolume to a claim, as Kubernetes does.
func (s sandbox) bind(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) {
	s.t.Helper()
	before := volume.DeepCopy()
	volume.Spec.ClaimRef.UID = claim.UID
	require.NoError(s.t, s.client.Patch(s.t.Context(), volume, client.MergeFrom(before)))
}

// finalizeDeletion waits until an object is being deleted, and removes its
// finalizers as Kubernetes' storage protection does when no pod uses it.
func (s sandbox) finalizeDeletion(o client.Object) {
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

// awaitGone waits until a ModelVersion no longer exists.
func (s sandbox) awaitGone(mv *v1alpha1.ModelVersion) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return apierrors.IsNotFound(s.client.Get(s.t.Context(), client.ObjectKeyFromObject(mv), &v1alpha1.ModelVersion{}))
	}, deadline, tick, "ModelVersion %s still exists", mv.Name)
}

func TestVolume(t *testing.T) {
	startOperator(t, shared, withEFS())

	t.Run("a build uses it, and it is deleted with the ModelVersion", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv, claim, volume := s.startEFSBuild(set("spec.storage.AWSEfs.attributes", map[string]any{"encryptInTransit": "true"}))
		wf := s.argo.awaitOnlyWorkflow()

		assert.Equal(t, []string{v1alpha1.FinalizerVolume}, mv.Finalizers)
		assert.True(t, metav1.IsControlledBy(claim, mv))
		assert.Equal(t, volume.Name, claim.Spec.VolumeName)
		assert.Equal(t, [2]string{claim.Namespace, claim.Name}, [2]string{volume.Spec.ClaimRef.Namespace, volume.Spec.ClaimRef.Name})
		assert.Equal(t, corev1.PersistentVolumeReclaimRetain, volume.Spec.PersistentVolumeReclaimPolicy)
		assert.Equal(t, &corev1.CSIPersistentVolumeSource{
			Driver: "efs.csi.aws.com", VolumeHandle: "fs-12345678", VolumeAttributes: map[string]string{"encryptInTransit": "true"},
		}, volume.Spec.CSI)
		assert.Equal(t, claim.Name, wf.Spec.Arguments.GetParameterByName(contract.ParamClaimName).Value.String())

		s.completeBuild(wf)
		assert.Nil(t, s.claim(mv).DeletionTimestamp, "it is kept as long as the ModelVersion exists, for a resubmit")
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.finalizeDeletion(claim)
		s.finalizeDeletion(volume)
		s.awaitGone(mv)
	})

	t.Run("the next attempt uses the same volume", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(efsVersion)
		mv := s.failBuild(s.argo.awaitOnlyWorkflow(), contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		claim, volume := s.claim(mv), s.persistentVolume(mv)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.completeBuild(s.argo.awaitAttempt(mv, 2))

		assert.Equal(t, claim.UID, s.claim(mv).UID)
		assert.Equal(t, volume.UID, s.persistentVolume(mv).UID)
	})

	t.Run("ModelVersions of the same name in two namespaces have different volumes", func(t *testing.T) {
		t.Parallel()
		volumes := map[types.UID]bool{}
		for range 2 {
			s := newSandbox(t, shared)
			_, claim, volume := s.startEFSBuild()
			volumes[volume.UID] = true
			assert.Equal(t, s.namespace, volume.Spec.ClaimRef.Namespace)
			assert.Equal(t, claim.Name, volume.Spec.ClaimRef.Name)
		}
		assert.Len(t, volumes, 2)
	})

	// Pods still use the first volume: its objects are being deleted and exist.
	t.Run("a ModelVersion that is created again has another volume", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		first, claim, volume := s.startEFSBuild()
		require.NoError(t, s.client.Delete(t.Context(), first))
		s.awaitGone(first)

		second := s.create(efsVersion)
		s.argo.awaitAttempt(second, 1)

		assert.NotEqual(t, claim.Name, s.claim(second).Name)
		assert.Equal(t, s.claim(second).Name, s.persistentVolume(second).Spec.ClaimRef.Name)
		assert.Nil(t, s.persistentVolume(second).DeletionTimestamp)
		s.finalizeDeletion(claim)
		s.finalizeDeletion(volume)
	})

	t.Run("storage of other kinds has none", func(t *testing.T) {
		t.Parallel()
		for name, manifest := range map[string]string{"localStorage": localVersion, "nfs": nfsVersion, "persistentVolumeClaim": claimVersion} {
			s := newSandbox(t, shared)
			s.create(manifest)
			s.argo.awaitOnlyWorkflow()
			mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
			assert.Empty(t, mv.Finalizers, name)
			s.assertAbsent(workflow.VolumeName(mv), &corev1.PersistentVolumeClaim{})
		}
	})
}

func TestVolumeDeletion(t *testing.T) {
	startOperator(t, shared, withEFS())

	t.Run("after the deletion of the Model", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv, claim, volume := s.startEFSBuild()
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))
		// As the garbage collector does, which does not run here.
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.awaitGone(mv)
		s.finalizeDeletion(claim)
		s.finalizeDeletion(volume)
	})

	for name, selectObjects := range map[string]func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) []client.Object{
		"without the PersistentVolume": func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) []client.Object {
			return []client.Object{v}
		},
		"without the claim": func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) []client.Object {
			return []client.Object{c}
		},
		"without both": func(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) []client.Object {
			return []client.Object{c, v}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, shared)
			mv, claim, volume := s.startEFSBuild()
			for _, o := range selectObjects(claim, volume) {
				require.NoError(t, s.client.Delete(t.Context(), o))
				s.finalizeDeletion(o)
			}
			require.NoError(t, s.client.Delete(t.Context(), mv))

			s.awaitGone(mv)
			s.finalizeDeletion(claim)
			s.finalizeDeletion(volume)
		})
	}

	t.Run("with another finalizer, which is kept", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv, claim, volume := s.startEFSBuild(set("metadata.finalizers", []any{"example.com/backup"}))
		assert.Equal(t, []string{"example.com/backup", v1alpha1.FinalizerVolume}, mv.Finalizers)
		require.NoError(t, s.client.Delete(t.Context(), mv))

		s.finalizeDeletion(claim)
		s.finalizeDeletion(volume)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, []string{"example.com/backup"}, mv.Finalizers)
		}, deadline, tick)
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Finalizers = nil })
		s.awaitGone(mv)
	})
}

func TestVolumeRecreation(t *testing.T) {
	startOperator(t, shared, withEFS())

	t.Run("after the claim was deleted", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(efsVersion)
		mv := s.failBuild(s.argo.awaitOnlyWorkflow(), contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		claim, volume := s.claim(mv), s.persistentVolume(mv)
		s.bind(claim, volume)
		require.NoError(t, s.client.Delete(t.Context(), claim))
		s.finalizeDeletion(claim)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.finalizeDeletion(volume)
		s.argo.awaitAttempt(mv, 2)

		assert.NotEqual(t, claim.UID, s.claim(mv).UID)
		assert.NotEqual(t, claim.UID, s.persistentVolume(mv).Spec.ClaimRef.UID)
	})

	// A claim that has lost its PersistentVolume binds only to one whose claimRef
	// has the claim's UID.
	t.Run("after the PersistentVolume was deleted", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(efsVersion)
		mv := s.failBuild(s.argo.awaitOnlyWorkflow(), contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		claim, volume := s.claim(mv), s.persistentVolume(mv)
		s.bind(claim, volume)
		require.NoError(t, s.client.Delete(t.Context(), volume))
		s.finalizeDeletion(volume)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.argo.awaitAttempt(mv, 2)

		assert.Equal(t, claim.UID, s.claim(mv).UID)
		assert.Equal(t, claim.UID, s.persistentVolume(mv).Spec.ClaimRef.UID)
	})
}

func TestVolumeNameConflict(t *testing.T) {
	s := newSandbox(t, shared)
	mv := s.create(efsVersion)
	conflicting := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: workflow.VolumeName(mv)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}
	require.NoError(t, s.client.Create(t.Context(), conflicting))
	startOperator(t, shared, withEFS())

	mv = s.awaitReason(resnet, v1alpha1.ReasonRefused)
	assert.Equal(t, waiting, conditionStatuses(mv))
	assert.Contains(t, mv.Status.Message, `persistentvolumeclaims "`+conflicting.Name+`" already exists`)
	assert.Empty(t, s.argo.workflows())

	require.NoError(t, s.client.Delete(t.Context(), conflicting))
	s.finalizeDeletion(conflicting)
	s.argo.awaitOnlyWorkflow()
	assert.True(t, metav1.IsControlledBy(s.claim(mv), mv))
	s.persistentVolume(mv)
}

// A user who edits a namespace can remove the finalizer. The PersistentVolume is
// cluster-scoped and would stay for ever.
func TestVolumeOrphaned(t *testing.T) {
	for name, down := range map[string]bool{"while the operator runs": false, "while the operator is down": true} {
		t.Run(name, func(t *testing.T) {
			op := startOperator(t, shared, withEFS())
			s := newSandbox(t, shared)
			mv, claim, volume := s.startEFSBuild()
			s.bind(claim, volume)
			if down {
				op.stop()
			}
			s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Finalizers = nil })
			require.NoError(t, s.client.Delete(t.Context(), mv))
			s.awaitGone(mv)
			if down {
				startOperator(t, shared, withEFS())
			}
			s.finalizeDeletion(claim)
			s.finalizeDeletion(volume)
		})
	}
}

// What the configuration no longer allows is removed: pods of the namespace would go
// on mounting it.
func TestVolumeNoLongerAllowed(t *testing.T) {
	op := startOperator(t, shared, withEFS())
	s := newSandbox(t, shared)
	mv, claim, volume := s.startEFSBuild()
	s.bind(claim, volume)
	s.completeBuild(s.argo.awaitOnlyWorkflow())
	op.stop()

	startOperator(t, shared)
	s.finalizeDeletion(claim)
	s.finalizeDeletion(volume)
	assert.Equal(t, v1alpha1.ReasonSucceeded, readyReason(s.version(mv.Name)), "the image exists")
}

// The finalizer keeps a deleted ModelVersion until an operator runs again.
func TestVolumeDeletionWhileOperatorIsDown(t *testing.T) {
	s := newSandbox(t, shared)
	op := startOperator(t, shared, withEFS())
	mv, claim, volume := s.startEFSBuild()
	op.stop()
	require.NoError(t, s.client.Delete(t.Context(), mv))
	assert.Equal(t, []string{v1alpha1.FinalizerVolume}, s.version(resnet).Finalizers)

	// The next operator does not allow the file system any more. It deletes the
	// volume nevertheless.
	startOperator(t, shared)
	s.awaitGone(mv)
	s.finalizeDeletion(claim)
	s.finalizeDeletion(volume)
}

// The operator crashes at every write before the Workflow exists. The next one
// creates no second volume, and the finalizer is always there before the volume.
func TestVolumeRestartAtEveryWrite(t *testing.T) {
	// The Model, the owner reference, three objects of the namespace, the
	// finalizer, the claim and the Workflow. The cluster-scoped PersistentVolume
	// is created before the claim.
	const writes = 8
	tr := newTransport()
	sandboxes := map[string]sandbox{}
	for write := 1; write <= writes; write++ {
		for _, delivered := range []bool{false, true} {
			s := newSandbox(t, shared)
			tr.disconnects[s.namespace] = &disconnect{atWrite: write, delivered: delivered}
			sandboxes[fmt.Sprintf("at write %d, delivered: %t", write, delivered)] = s
		}
	}
	op := startOperator(t, shared, withEFS(), withTransport(tr))
	for _, s := range sandboxes {
		s.create(efsVersion)
	}
	for name, s := range sandboxes {
		require.Eventually(t, func() bool { return tr.disconnected(s.namespace) }, deadline, tick, name)
		mv := s.version(resnet)
		err := s.client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: workflow.VolumeName(mv)}, &corev1.PersistentVolumeClaim{})
		require.NoError(t, client.IgnoreNotFound(err))
		assert.True(t, err != nil || controllerutil.ContainsFinalizer(mv, v1alpha1.FinalizerVolume), "%s: a claim without a finalizer", name)
	}
	op.stop()
	startOperator(t, shared, withEFS())
	for name, s := range sandboxes {
		s.argo.awaitOnlyWorkflow()
		mv := s.version(resnet)
		assert.Equal(t, s.claim(mv).Name, s.persistentVolume(mv).Spec.ClaimRef.Name, name)
		var claims corev1.PersistentVolumeClaimList
		require.NoError(t, s.client.List(t.Context(), &claims, client.InNamespace(s.namespace)))
		assert.Len(t, claims.Items, 1, name)
	}
}

// Between the pass that reads the storage of a deleted ModelVersion and its request to
// delete it, another client replaces it. What has the name then is not the operator's.
func TestVolumeReplacedBeforeDeletion(t *testing.T) {
	for name, read := range map[string]client.Object{"claim": &corev1.PersistentVolumeClaim{}, "PersistentVolume": &corev1.PersistentVolume{}} {
		t.Run(name, func(t *testing.T) {
			op := startOperator(t, shared, withEFS())
			s := newSandbox(t, shared)
			mv, claim, volume := s.startEFSBuild()
			op.stop()
			require.NoError(t, s.client.Delete(t.Context(), mv))
			target, isClaim := client.Object(volume), false
			if _, isClaim = read.(*corev1.PersistentVolumeClaim); isClaim {
				target = claim
			}
			replaced := false
			racing := interceptor.NewClient(s.client, interceptor.Funcs{
				Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
					if o.GetUID() == target.GetUID() && !replaced {
						replaced = true
						s.replace(target)
					}
					return c.Delete(ctx, o, opts...)
				},
			})

			result, err := s.newReconciler(racing).Reconcile(t.Context(), s.request())
			require.NoError(t, err)
			assert.Positive(t, result.RequeueAfter, "the next pass reads it again")
			require.True(t, replaced)
			_, err = s.newReconciler(racing).Reconcile(t.Context(), s.request())
			require.NoError(t, err)

			s.awaitGone(mv)
			require.NoError(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(target), read))
			assert.Nil(t, read.GetDeletionTimestamp())
			s.deleteAfterTest(read)
			if isClaim {
				s.finalizeDeletion(volume)
			} else {
				s.finalizeDeletion(claim)
			}
		})
	}
}

// replace deletes an object, and creates another one with its name that has none of its
// labels and owners.
func (s sandbox) replace(o client.Object) {
	s.t.Helper()
	require.NoError(s.t, s.client.Delete(s.t.Context(), o.DeepCopyObject().(client.Object)))
	s.finalizeDeletion(o.DeepCopyObject().(client.Object))
	foreign := o.DeepCopyObject().(client.Object)
	foreign.SetUID("")
	foreign.SetResourceVersion("")
	foreign.SetLabels(nil)
	foreign.SetOwnerReferences(nil)
	foreign.SetFinalizers(nil)
	require.NoError(s.t, s.client.Create(s.t.Context(), foreign))
}
