package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// servingPod returns a pod that the Pod Security Standard level restricted
// admits.
func servingPod(namespace string, labels map[string]string) *corev1.Pod {
	pod := restricted(plainPod(namespace))
	pod.Labels = labels
	return pod
}

func TestWebhookServingPods(t *testing.T) {
	for _, mode := range []inject.ServingMount{inject.ServingAuto, inject.ServingImageVolume, inject.ServingInitContainer} {
		t.Run(string(mode), func(t *testing.T) {
			startWithWebhook(t, withConfig(func(c *config.Config) { c.ServingMount = mode }))
			s := newSandbox(t, shared)
			mv := s.createReady()
			s.awaitLatest("resnet", s.latestVersion(resnet))
			s.enforcePodSecurity("restricted")
			repository, _, _ := strings.Cut(mv.Status.Image, ":")
			image := repository + "@" + digest

			for label, value := range map[string]string{v1alpha1.LabelServeVersion: resnet, v1alpha1.LabelServeModel: "resnet"} {
				pod := servingPod(s.namespace, map[string]string{label: value})
				pod.Annotations = map[string]string{v1alpha1.AnnotationServedImage: "registry.example.com/evil", v1alpha1.AnnotationServedVersion: "evil"}
				require.NoError(t, s.client.Create(t.Context(), pod))

				assert.Equal(t, image, pod.Annotations[v1alpha1.AnnotationServedImage])
				assert.Equal(t, resnet, pod.Annotations[v1alpha1.AnnotationServedVersion])
				assert.Equal(t, []corev1.LocalObjectReference{{Name: contract.DefaultPushSecret}}, pod.Spec.ImagePullSecrets)
				require.Len(t, pod.Spec.Volumes, 1)
				mount := pod.Spec.Containers[0].VolumeMounts[0]
				assert.Equal(t, [2]any{v1alpha1.ModelPath, true}, [2]any{mount.MountPath, mount.ReadOnly})
				assert.Equal(t, []corev1.EnvVar{{Name: v1alpha1.ModelPathEnv, Value: v1alpha1.ModelPath}}, pod.Spec.Containers[0].Env)
				if mode == inject.ServingInitContainer {
					assert.NotNil(t, pod.Spec.Volumes[0].EmptyDir)
					assert.Equal(t, image, pod.Spec.InitContainers[0].Image)
					continue
				}
				// The API server of these tests supports image volumes.
				assert.Equal(t, &corev1.ImageVolumeSource{Reference: image, PullPolicy: corev1.PullIfNotPresent}, pod.Spec.Volumes[0].Image)
				assert.Equal(t, "kubedl-model", mount.SubPath)
				assert.Empty(t, pod.Spec.InitContainers)
			}
		})
	}
}

// The signature is in the status, which another user may have written.
func TestWebhookServingVerification(t *testing.T) {
	key, other := builders.NewSigningKey(t), builders.NewSigningKey(t)
	startWithWebhook(t, withConfig(func(c *config.Config) {
		c.Verification = config.Verification{Serving: inject.VerificationRequire, Keys: []config.VerificationKey{{Namespaces: []string{"*"}, PublicKey: string(key.Public().PEM())}}}
	}))
	s := newSandbox(t, shared)
	mv := s.createReady()
	serve := func() error {
		return s.client.Create(t.Context(), servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: resnet}))
	}
	signWith := func(by *sign.Key) {
		bundle, err := by.SignImage(sign.Image{Repository: "modelhub/resnet", Digest: digest})
		require.NoError(t, err)
		patch := client.MergeFrom(mv.DeepCopy())
		mv.Status.Signature = &v1alpha1.SignatureStatus{
			SecretName: contract.DefaultSigningSecret, KeyID: by.Public().ID(), Bundle: string(bundle),
			Formats: []v1alpha1.SignatureFormat{v1alpha1.BundleSignature}, Attestations: []v1alpha1.Attestation{v1alpha1.FilesAttestation},
		}
		require.NoError(t, shared.admin.Status().Patch(t.Context(), mv, patch))
	}
	require.ErrorContains(t, serve(), `ModelVersion "`+resnet+`": its image is not signed`)
	signWith(other)
	require.ErrorContains(t, serve(), "it was not made with one of these keys")
	signWith(key)
	require.NoError(t, serve())
}

// The image that verifies files is that of the installed template. The API server admits
// the pod at the Pod Security level restricted.
func TestWebhookServingVerifiesFiles(t *testing.T) {
	list := strings.Repeat("ef", 32)
	for _, mode := range []inject.ServingMount{inject.ServingImageVolume, inject.ServingInitContainer} {
		t.Run(string(mode), func(t *testing.T) {
			startWithWebhook(t, withConfig(func(c *config.Config) { c.ServingMount = mode }))
			s := newSandbox(t, shared)
			mv := s.createReady()
			s.enforcePodSecurity("restricted")
			serve := func(value string) (*corev1.Pod, error) {
				pod := servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: resnet, v1alpha1.LabelVerify: value})
				return pod, s.client.Create(t.Context(), pod)
			}
			_, err := serve("image")
			require.ErrorContains(t, err, `the pod's label model.kubedl.io/verify is "image": set it to "files", or remove it`)
			_, err = serve("files")
			require.ErrorContains(t, err, "its files cannot be verified, which the pod's label model.kubedl.io/verify demands: its image is not signed")

			bundle, err := builders.NewSigningKey(t).SignImage(sign.Image{Repository: "modelhub/resnet", Digest: digest, List: list})
			require.NoError(t, err)
			patch := client.MergeFrom(mv.DeepCopy())
			mv.Status.Signature = &v1alpha1.SignatureStatus{Bundle: string(bundle)}
			require.NoError(t, shared.admin.Status().Patch(t.Context(), mv, patch))

			pod, err := serve("files")
			require.NoError(t, err)
			verifies := pod.Spec.InitContainers[len(pod.Spec.InitContainers)-1]
			assert.Equal(t, "served-model-files", verifies.Name)
			assert.Regexp(t, `^ghcr\.io/modelkiln/modelkiln-step:`, verifies.Image)
			assert.Equal(t, []string{"/ko-app/modelkiln-step"}, verifies.Command)
			assert.Contains(t, verifies.Args, "--list-digest=sha256:"+list)
		})
	}
}

// A node whose runtime ignores the subPath of an image volume joins the cluster, and
// is cordoned.
func TestWebhookServingNodes(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.createReady()
	addNode := func(name, runtime string) *corev1.Node {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		require.NoError(t, shared.admin.Create(t.Context(), node))
		t.Cleanup(func() { assert.NoError(t, shared.admin.Delete(context.WithoutCancel(t.Context()), node)) })
		node.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.35.1", ContainerRuntimeVersion: runtime, OperatingSystem: "linux"}
		require.NoError(t, shared.admin.Status().Update(t.Context(), node))
		return node
	}
	awaitMounted := func(want bool) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			pod := servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: resnet})
			require.NoError(c, s.client.Create(t.Context(), pod, client.DryRunAll))
			assert.Equal(c, want, pod.Spec.Volumes[0].Image != nil)
		}, deadline, tick)
	}
	addNode("new", "containerd://2.2.1")
	awaitMounted(true)
	old := addNode("old", "containerd://2.1.9")
	awaitMounted(false)
	old.Spec.Unschedulable = true
	require.NoError(t, shared.admin.Update(t.Context(), old))
	awaitMounted(true)
}

// OpenShift assigns users to the pods of a namespace, and refuses others.
func TestWebhookServingAssignedUser(t *testing.T) {
	startWithWebhook(t, withConfig(func(c *config.Config) { c.ServingMount = inject.ServingInitContainer }))
	s := newSandbox(t, shared)
	s.createReady()
	copierUser := func() *int64 {
		pod := servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: resnet})
		pod.Spec.SecurityContext.RunAsUser = nil
		require.NoError(t, s.client.Create(t.Context(), pod, client.DryRunAll))
		return pod.Spec.InitContainers[0].SecurityContext.RunAsUser
	}
	assert.NotNil(t, copierUser())
	s.assignUsers()
	assert.Nil(t, copierUser())
}

func TestWebhookServingPodsRejected(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	version := func(name string) map[string]string { return map[string]string{v1alpha1.LabelServeVersion: name} }
	model := func(name string) map[string]string { return map[string]string{v1alpha1.LabelServeModel: name} }
	assertRejected := func(t *testing.T, labels map[string]string, want ...string) {
		t.Helper()
		s.assertPodRejected(t, servingPod(s.namespace, labels), want...)
	}

	t.Run("the ModelVersion does not exist", func(t *testing.T) {
		assertRejected(t, version("none"), `ModelVersion "none" not found in namespace `+s.namespace+` (named by the pod's label model.kubedl.io/serve-version): create it first`)
	})
	t.Run("the Model does not exist", func(t *testing.T) {
		assertRejected(t, model("none"), `Model "none" not found in namespace `+s.namespace+` (named by the pod's label model.kubedl.io/serve-model): create a ModelVersion of it first`)
	})
	t.Run("the ModelVersion and the Model exist in another namespace", func(t *testing.T) {
		other := newSandbox(t, shared)
		other.createReady(set("metadata.name", "elsewhere", "spec.modelName", "elsewhere"))
		assertRejected(t, version("elsewhere"), `ModelVersion "elsewhere" not found in namespace `+s.namespace)
		assertRejected(t, model("elsewhere"), `Model "elsewhere" not found in namespace `+s.namespace)
	})
	t.Run("the label is empty", func(t *testing.T) {
		assertRejected(t, version(""), "label model.kubedl.io/serve-version is empty: set it to the name of a ModelVersion in this namespace, or remove the label")
		assertRejected(t, model(""), "label model.kubedl.io/serve-model is empty")
	})
	t.Run("both labels are set", func(t *testing.T) {
		both := map[string]string{v1alpha1.LabelServeVersion: resnet, v1alpha1.LabelServeModel: "resnet"}
		assertRejected(t, both, "the pod has both labels, model.kubedl.io/serve-version and model.kubedl.io/serve-model: remove one of them")
	})
	t.Run("the ModelVersion is being built, has failed, is being deleted", func(t *testing.T) {
		s := s.withT(t)
		s.create(localVersion, set("metadata.finalizers", []any{"example.com/backup"}))
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.runStep(wf, contract.StepBuild)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		assertRejected(t, version(resnet), `ModelVersion "resnet-1"`, v1alpha1.ReasonWorkflowRunning, mv.Status.Message)
		assertRejected(t, model("resnet"), `no ModelVersion of Model "resnet" (named by the pod's label model.kubedl.io/serve-model) is Ready; to list them: kubectl get mv -n `+s.namespace+` -l model.kubedl.io/model-name=resnet. `)

		mv = s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		assertRejected(t, version(resnet), `ModelVersion "resnet-1"`, v1alpha1.ReasonSourceEmpty, mv.Status.Message)

		require.NoError(t, s.client.Delete(t.Context(), mv))
		assertRejected(t, version(resnet), `ModelVersion "resnet-1"`, "is being deleted")
	})
}
