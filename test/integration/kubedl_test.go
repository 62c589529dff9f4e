package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

const kubedlSamples = "../../deploy/samples/kubedl"

func TestKubeDLManifests(t *testing.T) {
	// The checksums of the files as KubeDL publishes them.
	want := map[string]string{
		"model1.yaml":     "7a66c99be26e42c2c5e948ad61b4c2b70d7b4e47bee38fc7268f0d113159d3cd", // config/samples/model/model_v1alpha1_model.yaml
		"mv-3.yaml":       "8ca49bd0ad18ece983ea92711ae1249e0724bee8ca3d13035e580e8f03b729e3", // docs/model/intro.md
		"mv-4.yaml":       "3f9305a3a48911103fa73b4fe5b1599972ee52f39c777cb84ba78c8d329f53f1", // docs/model/usage.md
		"mv-4-local.yaml": "409e3f95ae7b2e9c41c15636a686cac524fca000e652c937e4ea4e9b5fdcc3d3", // config/samples/model/model_v1alpha1_modelversion.yaml
	}
	files, err := filepath.Glob(filepath.Join(kubedlSamples, "*.yaml"))
	require.NoError(t, err)
	got := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		sum := sha256.Sum256(raw)
		got[filepath.Base(file)] = hex.EncodeToString(sum[:])
	}
	assert.Equal(t, want, got)

	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			objects, err := readManifests(file)
			require.NoError(t, err)
			require.Len(t, objects, 1)
			if objects[0].GetNamespace() == "" {
				objects[0].SetNamespace("default")
			}
			require.NoError(t, shared.admin.Create(t.Context(), objects[0], client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)))
		})
	}

	t.Run("mv-4-nas.yaml applies after its placeholder is filled in", func(t *testing.T) {
		objects, err := readManifests("testdata/kubedl/mv-4-nas.yaml")
		require.NoError(t, err)
		err = shared.admin.Create(t.Context(), objects[0].DeepCopy(), client.DryRunAll)
		assert.Equal(t, []fieldError{{"spec.storage.nfs", "server is required: name the NFS server, for example server: nas.example.com"}}, fieldErrors(t, err))

		set("spec.storage.nfs.server", "nas.example.com").apply(t, objects[0])
		require.NoError(t, shared.admin.Create(t.Context(), objects[0], client.DryRunAll))
	})
}

// Modelkiln is installed on a cluster on which KubeDL has built images.
func TestKubeDLMigration(t *testing.T) {
	server := newAPIServer(t, "testdata/kubedl/crds.yaml", argoCRDs())
	require.NoError(t, server.install(deployRBAC, workflowTemplates, kanikoTemplate))
	s := newSandbox(t, server)
	s.createFromKubeDL("testdata/kubedl/stored.yaml")
	require.NoError(t, server.installCRDs(modelkilnCRDs))
	before := s.raw("mv-succeeded", "mv-failed")

	op := startOperator(t, server)
	built := s.awaitReason("mv-building", v1alpha1.ReasonWorkflowPending)
	assert.Equal(t, "modelhub/resnet:v"+uidDigits(built)[:5], built.Status.Image)
	assert.Equal(t, stalled, conditionStatuses(s.awaitReason("mv-without-storage", v1alpha1.ReasonInvalidSpec)))
	assert.Equal(t, stalled, conditionStatuses(s.awaitReason("mv-odd-path", v1alpha1.ReasonSourceForbidden)))
	latest := &v1alpha1.LatestVersion{ModelVersion: "mv-succeeded", ImageName: "modelhub/resnet:08123"}
	s.awaitLatest("model1", latest)

	t.Run("finished ModelVersions do not change when the operator starts", func(t *testing.T) {
		s := s.withT(t)
		op.drainQueue(t, server)
		assert.Equal(t, before, s.raw("mv-succeeded", "mv-failed"))
		assert.Len(t, s.argo.workflows(), 1, "only the unfinished ModelVersion is built")
	})

	op.stop()
	op = startOperator(t, server)

	t.Run("finished ModelVersions do not change when it starts again", func(t *testing.T) {
		s := s.withT(t)
		op.drainQueue(t, server)
		assert.Equal(t, before, s.raw("mv-succeeded", "mv-failed"))
		assert.Empty(t, op.transport.changes(s.namespace))
	})

	t.Run("finished ModelVersions are not rebuilt on request", func(t *testing.T) {
		s := s.withT(t)
		for _, name := range []string{"mv-succeeded", "mv-failed"} {
			before := s.raw(name)[name]["status"]
			s.annotate(name, v1alpha1.AnnotationRebuild, "1")
			s.edit(name, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
			op.drainQueue(t, server)
			assert.Equal(t, before, s.raw(name)[name]["status"])
		}
		assert.Len(t, s.argo.workflows(), 1)
		assert.Equal(t, latest, s.model("model1").Status.LatestVersion)
	})

	t.Run("the unfinished ModelVersion is built", func(t *testing.T) {
		s := s.withT(t)
		s.argo.completeWorkflow(s.argo.awaitOnlyWorkflow())
		mv := s.awaitReason("mv-building", v1alpha1.ReasonSucceeded)
		s.awaitLatest("model1", newerOf(s.version("mv-succeeded"), mv))
	})
}

// newerOf returns the latest version of two ModelVersions that succeeded.
func newerOf(a, b *v1alpha1.ModelVersion) *v1alpha1.LatestVersion {
	newer := b
	if a.CreationTimestamp.After(b.CreationTimestamp.Time) || (a.CreationTimestamp.Equal(&b.CreationTimestamp) && a.Name > b.Name) {
		newer = a
	}
	return &v1alpha1.LatestVersion{ModelVersion: newer.Name, ImageName: newer.Status.Image, Digest: newer.Status.Digest}
}

// createFromKubeDL creates objects as KubeDL leaves them: with a status, which
// its CRD accepts on creation, and owned by their Model, whose latest version
// is the ModelVersion that was started last, although it failed.
func (s sandbox) createFromKubeDL(file string) {
	s.t.Helper()
	m := newObject(s.t, s.namespace, model, set("metadata.name", "model1"))
	require.NoError(s.t, s.client.Create(s.t.Context(), m))
	set("status.latestVersion", map[string]any{"modelVersion": "mv-failed", "imageName": "modelhub/resnet:1a2b3"}).apply(s.t, m)
	require.NoError(s.t, s.client.Status().Update(s.t.Context(), m))

	objects, err := readManifests(file)
	require.NoError(s.t, err)
	for _, o := range objects {
		o.SetNamespace(s.namespace)
		if o.GetLabels() != nil {
			o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "model.kubedl.io/v1alpha1", Kind: "Model", Name: "model1", UID: m.GetUID()}})
		}
		require.NoError(s.t, s.client.Create(s.t.Context(), o))
	}
}

// raw returns ModelVersions with all fields that the API server stores.
func (s sandbox) raw(names ...string) map[string]map[string]any {
	s.t.Helper()
	all := map[string]map[string]any{}
	for _, name := range names {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ModelVersion"))
		s.get(s.t, name, o)
		all[name] = o.Object
	}
	return all
}
