package integration

import (
	"fmt"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAModelOwnsItsVersions(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("and is made if there is none", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		m := s.model("resnet")
		assert.Equal(t, []metav1.OwnerReference{{APIVersion: "model.kubedl.io/v1alpha1", Kind: "Model", Name: "resnet", UID: m.UID}}, mv.OwnerReferences)
		assert.Equal(t, map[string]string{v1alpha1.LabelModelName: "resnet"}, mv.Labels)
	})

	t.Run("and is left as it is if there is one", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		m := object(t, s.namespace, model, set("spec.description", "a classifier", "metadata.labels", map[string]any{"team": "a"}))
		require.NoError(t, s.client.Create(t.Context(), m))
		s.apply(localVersion, set("metadata.labels", map[string]any{"team": "b"}))

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, m.GetUID(), mv.OwnerReferences[0].UID)
		assert.Equal(t, map[string]string{v1alpha1.LabelModelName: "resnet", "team": "b"}, mv.Labels)
		assert.Equal(t, m.GetResourceVersion(), s.model("resnet").ResourceVersion)
	})

	t.Run("beside owners that a version has already", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		job := map[string]any{"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "7a6a5a3c-8a41-4f0b-9c36-5d2e7f1a0b94", "controller": true}
		s.apply(localVersion, set("metadata.ownerReferences", []any{job}))

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		require.Len(t, mv.OwnerReferences, 2)
		assert.Equal(t, "Job", mv.OwnerReferences[0].Kind)
		assert.Equal(t, s.model("resnet").UID, mv.OwnerReferences[1].UID)
	})

	t.Run("several of them at once", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		for i := range 5 {
			s.apply(localVersion, set("metadata.name", fmt.Sprintf("resnet-%d", i)))
		}
		for i := range 5 {
			mv := s.awaitReason(fmt.Sprintf("resnet-%d", i), v1alpha1.ReasonWorkflowPending)
			assert.Equal(t, s.model("resnet").UID, mv.OwnerReferences[0].UID)
		}
		assert.Len(t, s.argo.workflows(), 5)
	})

	t.Run("and a new version waits while it is being deleted", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		release := s.terminatingModel("resnet")
		old := s.model("resnet")
		s.apply(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonModelTerminating)
		assert.Equal(t, waiting, states(mv))
		assert.Empty(t, mv.OwnerReferences)
		assert.Empty(t, s.argo.workflows())

		release()

		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.NotEqual(t, old.UID, s.model("resnet").UID)
		assert.Equal(t, s.model("resnet").UID, s.version(resnet).OwnerReferences[0].UID)
	})

	// No garbage collector runs: what a Model's deletion would take with it is
	// still there, and the operator must leave it alone until it is gone.
	t.Run("and is never brought back by a version that had it", func(t *testing.T) {
		t.Parallel()
		s, failed := newBuild(t)
		mv := s.buildFails(failed, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		s.buildSucceeds(s.argo.awaitAttempt(mv, 2))
		op.settles(t, shared)

		s.absent("resnet", &v1alpha1.Model{})
	})

	t.Run("nor by a version that outlives it", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion, build("workflowTemplate", s.namespace))
		s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)

		// As kubectl delete model --cascade=orphan does.
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.OwnerReferences = nil })
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		op.settles(t, shared)

		s.absent("resnet", &v1alpha1.Model{})
		assert.Empty(t, s.version(resnet).OwnerReferences)
	})

	t.Run("and is made for a copy of such a version", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion, set("metadata.annotations", map[string]any{v1alpha1.AnnotationJoined: "1c072d5e-8a41-4f0b-9c36-5d2e7f1a0b94"}))

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, s.model("resnet").UID, mv.OwnerReferences[0].UID)
	})

	t.Run("and comes back with a version that is new", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		require.NoError(t, s.client.Delete(t.Context(), s.model("resnet")))

		s.apply(localVersion, set("metadata.name", "resnet-2"))

		s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, s.model("resnet").UID, s.version("resnet-2").OwnerReferences[0].UID)
	})

	t.Run("not those of the same name in another namespace", func(t *testing.T) {
		t.Parallel()
		a, b := newScene(t, shared), newScene(t, shared)
		a.apply(localVersion)
		b.apply(localVersion)
		a.buildSucceeds(a.argo.awaitOnlyWorkflow())
		b.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		a.awaitLatest("resnet", a.latest(resnet))
		assert.Nil(t, b.model("resnet").Status.LatestVersion)
	})
}

func TestNothingIsMadeInANamespaceThatGoesAway(t *testing.T) {
	terminating := newScene(t, shared)
	terminating.apply(localVersion)
	terminating.terminateNamespace()
	op := startOperator(t, shared)

	t.Run("for a version that is new", func(t *testing.T) {
		t.Parallel()
		op.settles(t, shared)

		terminating.absent("resnet", &v1alpha1.Model{})
		assert.Empty(t, terminating.argo.workflows())
	})

	t.Run("for a version whose Workflow goes with it", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t)
		want := s.awaitFollows(resnet, wf, "").Status
		s.terminateNamespace()

		require.NoError(t, s.client.Delete(t.Context(), wf))
		op.awaitLookup(t, s.namespace, wf.Name)
		op.settles(t, shared)

		assert.Empty(t, s.argo.workflows())
		assert.Equal(t, want, s.version(resnet).Status, "nothing is said of what cannot go on")
	})
}

// terminateNamespace begins the deletion of the scene's namespace, which no
// controller ends here.
func (s scene) terminateNamespace() {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	require.NoError(s.t, s.client.Delete(s.t.Context(), namespace))
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		require.NoError(c, s.client.Get(s.t.Context(), client.ObjectKeyFromObject(namespace), namespace))
		assert.Equal(c, corev1.NamespaceTerminating, namespace.Status.Phase)
		// The API server's own view of that lags behind for a moment.
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "probe-"}}
		assert.Error(c, s.client.Create(s.t.Context(), probe, client.DryRunAll))
	}, deadline, tick)
}

func TestAWorkflowIsTheVersions(t *testing.T) {
	startOperator(t, shared, withConfig(func(c *config.Config) {
		c.DefaultRegistry = "registry.example.com:5000"
		c.Registries = []config.Registry{{Host: "registry.example.com:5000", PlainHTTP: true}}
	}))

	t.Run("in name, labels, owner and arguments", func(t *testing.T) {
		t.Parallel()
		s, wf := newBuild(t, set("spec.createdBy", "Ann {{x}}\n"), build("pushSecretName", "robot"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, "resnet-1-"+hexDigits(mv)[:5]+"-1", wf.Name)
		assert.Equal(t, []metav1.OwnerReference{{APIVersion: "model.kubedl.io/v1alpha1", Kind: "ModelVersion", Name: resnet, UID: mv.UID, Controller: ptr.To(true)}}, wf.OwnerReferences)
		assert.Equal(t, map[string]string{
			v1alpha1.LabelModelName: "resnet", v1alpha1.LabelModelVersion: resnet, v1alpha1.LabelModelVersionUID: string(mv.UID), v1alpha1.LabelAttempt: "1",
		}, wf.Labels)
		assert.Equal(t, &wfv1.WorkflowTemplateRef{Name: "modelkiln-build", ClusterScope: true}, wf.Spec.WorkflowTemplateRef)

		image := "registry.example.com:5000/modelhub/resnet:v" + hexDigits(mv)[:5]
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

	t.Run("also when the version's name is as long as a name can be", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		name := letters(253)
		s.apply(localVersion, set("metadata.name", name))

		wf := s.argo.awaitOnlyWorkflow()
		assert.LessOrEqual(t, len(wf.Name), 57)
		s.buildSucceeds(wf)
	})

	t.Run("and not that of a version of the same name before it", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		first := s.apply(localVersion)
		old := s.argo.awaitOnlyWorkflow()
		s.buildFails(old, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		require.NoError(t, s.client.Delete(t.Context(), first))

		second := s.apply(localVersion)

		wf := s.argo.awaitAttempt(second, 1)
		assert.NotEqual(t, old.Name, wf.Name)
		mv := s.awaitFollows(resnet, wf, "")
		assert.Equal(t, int64(1), mv.Status.Attempts)
	})
}

func TestANamespaceIsPreparedForBuilds(t *testing.T) {
	labels := map[string]string{"app.kubernetes.io/managed-by": "modelkiln"}

	t.Run("with an account and its right, and no certificates where none are configured", func(t *testing.T) {
		startOperator(t, shared)
		s := newScene(t, shared)
		s.apply(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)

		var account corev1.ServiceAccount
		s.get(t, "modelkiln-build", &account)
		assert.Equal(t, labels, account.Labels)
		var binding rbacv1.RoleBinding
		s.get(t, "modelkiln-build", &binding)
		assert.Equal(t, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-build"}, binding.RoleRef)
		assert.Equal(t, []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "modelkiln-build"}}, binding.Subjects)
		var bundle corev1.ConfigMap
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Empty(t, bundle.Data)
	})

	t.Run("with the certificates of private registries, kept up to date", func(t *testing.T) {
		certificates := func(pem string) func(*settings) {
			return withConfig(func(c *config.Config) {
				c.Registries = []config.Registry{{Host: "registry.example.com", CABundle: pem}}
			})
		}
		op := startOperator(t, shared, certificates("old"))
		s := newScene(t, shared)
		s.apply(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		var bundle corev1.ConfigMap
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Equal(t, map[string]string{"ca.crt": "old\n"}, bundle.Data)
		assert.Equal(t, labels, bundle.Labels)
		op.stop()

		op = startOperator(t, shared, certificates("new"))
		s.apply(localVersion, set("metadata.name", "resnet-2"))
		s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowPending)
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Equal(t, map[string]string{"ca.crt": "new\n"}, bundle.Data)
		op.stop()

		startOperator(t, shared)
		s.apply(localVersion, set("metadata.name", "resnet-3"))
		s.awaitReason("resnet-3", v1alpha1.ReasonWorkflowPending)
		bundle = corev1.ConfigMap{}
		s.get(t, contract.RegistryCAConfigMap, &bundle)
		assert.Empty(t, bundle.Data, "what is configured no longer is trusted no longer")
	})

	t.Run("and nothing of another name can be touched", func(t *testing.T) {
		s := newScene(t, shared)
		operator, err := client.New(shared.serviceAccountConfig(t, operatorNamespace, operatorAccount), client.Options{Scheme: testScheme()})
		require.NoError(t, err)
		for _, o := range []client.Object{&corev1.ConfigMap{}, &corev1.ServiceAccount{}, &rbacv1.RoleBinding{
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-build"},
		}} {
			o.SetNamespace(s.namespace)
			o.SetName("somebodys")
			require.NoError(t, s.client.Create(t.Context(), o))
			err := operator.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`)))
			assert.True(t, apierrors.IsForbidden(err), "%T: %v", o, err)
		}
	})

	t.Run("over what was changed by hand, and beside what was added", func(t *testing.T) {
		startOperator(t, shared)
		s := newScene(t, shared)
		require.NoError(t, s.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: "modelkiln-build", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:x"},
		}}))
		require.NoError(t, s.client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "modelkiln-build"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-build"},
		}))
		s.apply(localVersion)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)

		var account corev1.ServiceAccount
		s.get(t, "modelkiln-build", &account)
		assert.Equal(t, map[string]string{"team": "a", "app.kubernetes.io/managed-by": "modelkiln"}, account.Labels)
		assert.Equal(t, "arn:x", account.Annotations["eks.amazonaws.com/role-arn"])
		var binding rbacv1.RoleBinding
		s.get(t, "modelkiln-build", &binding)
		assert.Len(t, binding.Subjects, 1)
	})
}

// What people may do comes with the roles that deploy/ ships.
func TestOnlyTheOperatorWritesStatus(t *testing.T) {
	s := newScene(t, shared)
	edit := shared.clientBound(t, s.namespace, "editor", rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-edit"})
	o := object(t, s.namespace, localVersion, set("status.imageBuildPhase", "ImageBuildSucceeded", "status.image", "modelhub/resnet:forged"))
	require.NoError(t, edit.Create(t.Context(), o))
	mv := s.version(resnet)
	assert.Equal(t, v1alpha1.ModelVersionStatus{}, mv.Status, "a status that is applied with the spec is dropped")

	before := mv.DeepCopy()
	mv.Status.ImageBuildPhase = v1alpha1.ImageBuildSucceeded
	err := edit.Status().Patch(t.Context(), mv, client.MergeFrom(before))
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
}
