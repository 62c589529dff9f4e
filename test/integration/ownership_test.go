package integration

import (
	"fmt"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestModelOwnership(t *testing.T) {
	startOperator(t, shared)

	t.Run("a missing Model is created", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		m := s.model("resnet")
		assert.Equal(t, []metav1.OwnerReference{{APIVersion: "model.kubedl.io/v1alpha1", Kind: "Model", Name: "resnet", UID: m.UID}}, mv.OwnerReferences)
		assert.Equal(t, map[string]string{v1alpha1.LabelModelName: "resnet"}, mv.Labels)
	})

	t.Run("an existing Model is not changed", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		m := newObject(t, s.namespace, model, set("spec.description", "a classifier", "metadata.labels", map[string]any{"team": "a"}))
		require.NoError(t, s.client.Create(t.Context(), m))
		s.create(localVersion, set("metadata.labels", map[string]any{"team": "b"}))

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, m.GetUID(), mv.OwnerReferences[0].UID)
		assert.Equal(t, map[string]string{v1alpha1.LabelModelName: "resnet", "team": "b"}, mv.Labels)
		assert.Equal(t, m.GetResourceVersion(), s.model("resnet").ResourceVersion)
	})

	t.Run("other owners are kept", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		job := map[string]any{"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "7a6a5a3c-8a41-4f0b-9c36-5d2e7f1a0b94", "controller": true}
		s.create(localVersion, set("metadata.ownerReferences", []any{job}))

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		require.Len(t, mv.OwnerReferences, 2)
		assert.Equal(t, "Job", mv.OwnerReferences[0].Kind)
		assert.Equal(t, s.model("resnet").UID, mv.OwnerReferences[1].UID)
	})

	t.Run("several ModelVersions get the same owner", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		for i := range 5 {
			s.create(localVersion, set("metadata.name", fmt.Sprintf("resnet-%d", i)))
		}
		for i := range 5 {
			mv := s.awaitReason(fmt.Sprintf("resnet-%d", i), v1alpha1.ReasonWorkflowPending)
			assert.Equal(t, s.model("resnet").UID, mv.OwnerReferences[0].UID)
		}
		assert.Len(t, s.argo.workflows(), 5)
	})

	t.Run("a Model of the same name in another namespace is ignored", func(t *testing.T) {
		t.Parallel()
		a, b := newSandbox(t, shared), newSandbox(t, shared)
		a.create(localVersion)
		b.create(localVersion)
		a.completeBuild(a.argo.awaitOnlyWorkflow())
		b.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		a.awaitLatest("resnet", a.latestVersion(resnet))
		assert.Nil(t, b.model("resnet").Status.LatestVersion)
	})
}

func TestModelOwnershipAfterModelDeletion(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("a new ModelVersion waits while the Model is being deleted", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		release := s.terminatingModel("resnet")
		old := s.model("resnet")
		s.create(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonModelTerminating)
		assert.Equal(t, waiting, conditionStatuses(mv))
		assert.Empty(t, mv.OwnerReferences)
		assert.Empty(t, s.argo.workflows())

		release()

		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.NotEqual(t, old.UID, s.model("resnet").UID)
		assert.Equal(t, s.model("resnet").UID, s.version(resnet).OwnerReferences[0].UID)
	})

	// No garbage collector runs, so that the deleted Model's ModelVersions still
	// exist. The operator must not create the Model for them again.
	t.Run("a ModelVersion that has the owner does not create it again", func(t *testing.T) {
		t.Parallel()
		s, failed := startBuild(t)
		mv := s.failBuild(failed, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.completeBuild(s.argo.awaitAttempt(mv, 2))
		op.drainQueue(t, shared)

		s.assertAbsent("resnet", &v1alpha1.Model{})
	})

	t.Run("nor does an orphaned ModelVersion", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion, build("workflowTemplate", s.namespace))
		s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)

		// As kubectl delete model --cascade=orphan and the garbage collector do.
		m := s.model("resnet")
		require.NoError(t, s.client.Delete(t.Context(), m, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.OwnerReferences = nil })
		s.finalizeDeletion(m)
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		op.drainQueue(t, shared)

		s.assertAbsent("resnet", &v1alpha1.Model{})
		assert.Empty(t, s.version(resnet).OwnerReferences)
	})

	t.Run("a copy of an orphaned ModelVersion creates it", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion, set("metadata.annotations", map[string]any{v1alpha1.AnnotationJoined: "1c072d5e-8a41-4f0b-9c36-5d2e7f1a0b94"}))

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, s.model("resnet").UID, mv.OwnerReferences[0].UID)
	})

	t.Run("a new ModelVersion creates it", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))

		s.create(localVersion, set("metadata.name", "resnet-2"))

		s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, s.model("resnet").UID, s.version("resnet-2").OwnerReferences[0].UID)
	})
}

// kubectl replace -f of the unchanged manifest, and users who edit metadata, remove
// what the operator has written there.
func TestModelMembershipIsRestored(t *testing.T) {
	op := startOperator(t, shared)
	replace := func(mv *v1alpha1.ModelVersion) { mv.Labels, mv.Annotations, mv.OwnerReferences = nil, nil, nil }
	belongs := func(s sandbox, name string) {
		m := s.model("resnet")
		require.EventuallyWithT(s.t, func(c *assert.CollectT) {
			mv := s.version(name)
			assert.Equal(c, "resnet", mv.Labels[v1alpha1.LabelModelName])
			assert.Equal(c, string(mv.UID), mv.Annotations[v1alpha1.AnnotationJoined])
			assert.Equal(c, []metav1.OwnerReference{{APIVersion: "model.kubedl.io/v1alpha1", Kind: "Model", Name: "resnet", UID: m.UID}}, mv.OwnerReferences)
		}, deadline, tick)
	}

	for name, change := range map[string]func(*v1alpha1.ModelVersion){
		"replaced":       replace,
		"label changed":  func(mv *v1alpha1.ModelVersion) { mv.Labels[v1alpha1.LabelModelName] = "bert" },
		"label removed":  func(mv *v1alpha1.ModelVersion) { mv.Labels = nil },
		"owner removed":  func(mv *v1alpha1.ModelVersion) { mv.OwnerReferences = nil },
		"annotation":     func(mv *v1alpha1.ModelVersion) { mv.Annotations = nil },
		"another's UID":  func(mv *v1alpha1.ModelVersion) { mv.Annotations[v1alpha1.AnnotationJoined] = "1c072d5e" },
		"another's name": func(mv *v1alpha1.ModelVersion) { mv.OwnerReferences[0].UID = "1c072d5e" },
	} {
		t.Run("of a Ready ModelVersion, "+name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, shared)
			s.createReady()
			s.edit(resnet, change)
			belongs(s, resnet)
		})
	}

	t.Run("of a failed ModelVersion, whose deleted Model does not come back", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t)
		s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		s.edit(resnet, replace)
		belongs(s, resnet)

		// No garbage collector runs.
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))
		s.edit(resnet, replace)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, "resnet", s.version(resnet).Labels[v1alpha1.LabelModelName])
		}, deadline, tick)
		op.drainQueue(t, shared)
		s.assertAbsent("resnet", &v1alpha1.Model{})
		assert.Empty(t, s.version(resnet).OwnerReferences)
	})

	t.Run("an orphaned ModelVersion does not join a new Model", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.createReady()
		m := s.model("resnet")
		require.NoError(t, s.client.Delete(t.Context(), m, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.OwnerReferences = nil })
		s.finalizeDeletion(m)
		s.create(localVersion, set("metadata.name", "resnet-2"))
		s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowPending)

		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Labels = nil })
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, "resnet", s.version(resnet).Labels[v1alpha1.LabelModelName])
		}, deadline, tick)
		assert.Empty(t, s.version(resnet).OwnerReferences)
		belongs(s, "resnet-2")
	})

	// The garbage collector deletes an object whose owner is not in its namespace.
	t.Run("a manifest of another namespace with its owner creates a ModelVersion", func(t *testing.T) {
		t.Parallel()
		a, b := newSandbox(t, shared), newSandbox(t, shared)
		original := a.createReady()
		copied := original.DeepCopy()
		copied.ObjectMeta = metav1.ObjectMeta{
			Namespace: b.namespace, Name: original.Name,
			Labels: original.Labels, Annotations: original.Annotations, OwnerReferences: original.OwnerReferences,
		}
		require.NoError(t, b.client.Create(t.Context(), copied))

		b.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		belongs(b, resnet)
	})
}

func TestWorkflowOwnership(t *testing.T) {
	startOperator(t, shared, withConfig(func(c *config.Config) {
		c.DefaultRegistry = "registry.example.com:5000"
		c.Registries = []config.Registry{{Host: "registry.example.com:5000", PlainHTTP: true}}
	}))

	t.Run("name, labels, owner and arguments identify the ModelVersion", func(t *testing.T) {
		t.Parallel()
		s, wf := startBuild(t, set("spec.createdBy", "Ann {{x}}\n"), build("pushSecretName", "robot"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, "resnet-1-"+uidDigits(mv)[:5]+"-1", wf.Name)
		assert.Equal(t, []metav1.OwnerReference{{APIVersion: "model.kubedl.io/v1alpha1", Kind: "ModelVersion", Name: resnet, UID: mv.UID, Controller: ptr.To(true)}}, wf.OwnerReferences)
		assert.Equal(t, map[string]string{
			v1alpha1.LabelModelName: "resnet", v1alpha1.LabelModelVersion: resnet, v1alpha1.LabelModelVersionUID: string(mv.UID), v1alpha1.LabelAttempt: "1",
		}, wf.Labels)
		assert.Equal(t, &wfv1.WorkflowTemplateRef{Name: contract.BuildTemplate, ClusterScope: true}, wf.Spec.WorkflowTemplateRef)

		image := "registry.example.com:5000/modelhub/resnet:v" + uidDigits(mv)[:5]
		assert.Equal(t, image, mv.Status.Image)
		got := arguments(wf)
		for name, want := range map[string]string{
			contract.ParamImage:               image,
			contract.ParamModel:               "resnet",
			contract.ParamModelVersion:        resnet,
			contract.ParamModelVersionUID:     string(mv.UID),
			contract.ParamCreatedBy:           "Ann+%7B%7Bx%7D%7D%0A",
			contract.ParamStorageKind:         "localStorage",
			contract.ParamStoragePath:         "/models/resnet/1",
			contract.ParamNodeName:            "node-1",
			contract.ParamPushSecret:          "robot",
			contract.ParamPushSecretRequired:  "true",
			contract.ParamPlainHTTPRegistries: "registry.example.com:5000",
		} {
			assert.Equal(t, want, got[name], name)
		}
	})

	t.Run("the longest possible name of a ModelVersion works", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		name := letters(253)
		s.create(localVersion, set("metadata.name", name))

		wf := s.argo.awaitOnlyWorkflow()
		assert.LessOrEqual(t, len(wf.Name), 57)
		s.completeBuild(wf)
	})

	t.Run("the Workflow of a deleted ModelVersion of the same name is ignored", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		first := s.create(localVersion)
		old := s.argo.awaitOnlyWorkflow()
		s.failBuild(old, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		require.NoError(t, s.client.Delete(t.Context(), first))

		second := s.create(localVersion)

		wf := s.argo.awaitAttempt(second, 1)
		assert.NotEqual(t, old.Name, wf.Name)
		mv := s.awaitWorkflowPhase(resnet, wf, "")
		assert.Equal(t, int64(1), mv.Status.Attempts)
	})
}
