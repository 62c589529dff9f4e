package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// trainingCases holds pods, and what the webhook changes them to.
const trainingCases = "../../internal/inject/testdata/training"

func TestWebhookTrainingPods(t *testing.T) {
	startWithWebhook(t)
	for _, name := range []string{
		"local-storage", "nfs", "claim-with-sub-path", "mounted-in-some-containers", "mounted-in-all-containers", "node-affinity-terms",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, shared)
			manifest, err := os.ReadFile(filepath.Join(trainingCases, name+".modelversion.yaml"))
			require.NoError(t, err)
			mv := newObject(t, s.namespace, string(manifest))
			mv.SetUID("")
			require.NoError(t, s.client.Create(t.Context(), mv))
			pod, want := &corev1.Pod{}, &corev1.Pod{}
			readPod(t, name+".pod.yaml", pod)
			readPod(t, name+".trained.yaml", want)
			pod.Namespace = s.namespace

			require.NoError(t, s.client.Create(t.Context(), pod))
			assert.Equal(t, want.Spec.Volumes, pod.Spec.Volumes)
			assert.Equal(t, want.Spec.Affinity, pod.Spec.Affinity)
			assertInjected(t, want.Spec.InitContainers, pod.Spec.InitContainers)
			assertInjected(t, want.Spec.Containers, pod.Spec.Containers)
		})
	}
}

func readPod(t *testing.T, name string, into *corev1.Pod) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(trainingCases, name))
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into))
}

// assertInjected compares the fields of containers that the webhook sets. The
// API server sets defaults in other fields.
func assertInjected(t *testing.T, want, got []corev1.Container) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, want[i].Env, got[i].Env, want[i].Name)
		assert.Equal(t, want[i].VolumeMounts, got[i].VolumeMounts, want[i].Name)
	}
}

func TestWebhookTrainingPodsRejected(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	assertRejected := func(t *testing.T, version string, want ...string) {
		t.Helper()
		s.assertPodRejected(t, trainingPod(s.namespace, version), want...)
	}
	t.Run("the ModelVersion does not exist", func(t *testing.T) {
		assertRejected(t, "resnet-2", `ModelVersion "resnet-2" not found in namespace `+s.namespace, v1alpha1.LabelTrainVersion)
	})
	t.Run("the ModelVersion exists in another namespace", func(t *testing.T) {
		other := newSandbox(t, shared)
		other.create(localVersion, set("metadata.name", "elsewhere"))
		assertRejected(t, "elsewhere", `ModelVersion "elsewhere" not found in namespace `+s.namespace)
	})
	t.Run("the label is empty", func(t *testing.T) {
		assertRejected(t, "", "label model.kubedl.io/train-version is empty")
	})
	t.Run("the storage is forbidden", func(t *testing.T) {
		s.create(localVersion, set("metadata.name", "forbidden"), set(localPath, "/etc"))
		mv := s.awaitReason("forbidden", v1alpha1.ReasonSourceForbidden)
		assertRejected(t, "forbidden", mv.Status.Message)
	})
	t.Run("the ModelVersion is being deleted", func(t *testing.T) {
		s.create(localVersion, set("metadata.name", "terminating"), set("metadata.finalizers", []any{"example.com/backup"}))
		require.NoError(t, s.client.Delete(t.Context(), s.version("terminating")))
		assertRejected(t, "terminating", `"terminating"`, "is being deleted")
	})
}
