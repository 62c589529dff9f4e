package inject_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

func filesCheck() *inject.FilesCheck {
	return &inject.FilesCheck{
		Image: "registry.example.com/modelkiln-step:v1", Command: []string{"/ko-app/modelkiln-step"}, PullSecrets: []string{"mirror"},
		ListDigest: "sha256:" + strings.Repeat("ef", 32),
	}
}

// verified returns a pod with a model, whose files are verified.
func verified(t *testing.T, pod *corev1.Pod, mv *v1alpha1.ModelVersion, mode inject.ServingMount, check *inject.FilesCheck) *corev1.Pod {
	t.Helper()
	served, problem := inject.Serving(pod, mv, mode)
	require.Nil(t, problem)
	require.Nil(t, inject.VerifyFiles(served, mv, mode, check))
	return served
}

// Each pod in testdata/verify becomes the ones next to it, for the ModelVersion next to them.
func TestVerifyFiles(t *testing.T) {
	for name, file := range golden.Cases(t, "verify", ".modelversion.yaml") {
		for suffix, mode := range modes {
			t.Run(name+" by "+suffix, func(t *testing.T) {
				var mv v1alpha1.ModelVersion
				golden.ReadYAML(t, file, &mv)
				mv.UID = builders.ModelVersionUID
				var pod corev1.Pod
				golden.ReadYAML(t, strings.Replace(file, ".modelversion.", ".pod.", 1), &pod)

				got := verified(t, &pod, &mv, mode, filesCheck())
				golden.AssertYAML(t, strings.Replace(file, ".modelversion.", "."+suffix+".", 1), got)
				assert.Equal(t, inYAML(t, got), inYAML(t, verified(t, got, &mv, mode, filesCheck())), "a second call changes nothing")

				plain, problem := inject.Serving(&pod, &mv, mode)
				require.Nil(t, problem)
				plain.Spec.ImagePullSecrets = got.Spec.ImagePullSecrets
				assert.Equal(t, inYAML(t, plain), inYAML(t, verified(t, got, &mv, mode, nil)), "it is removed from a copy that does not demand it")
			})
		}
	}
}

func TestVerifyFilesOfACopiedPod(t *testing.T) {
	first := servable("resnet-1").Obj()
	second := servable("resnet-2").Built("modelhub/resnet:v2", "sha256:"+strings.Repeat("2", 64)).Obj()
	other := filesCheck()
	other.ListDigest = "sha256:" + strings.Repeat("12", 32)
	for was, before := range modes {
		for is, now := range modes {
			t.Run("from "+was+" to "+is, func(t *testing.T) {
				running := verified(t, servingPod(), first, before, other)
				assert.Equal(t, inYAML(t, verified(t, servingPod(), second, now, filesCheck())), inYAML(t, verified(t, running, second, now, filesCheck())))
			})
		}
	}
}

// Whatever another webhook adds, the files are verified first.
func TestVerifyFilesFirst(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			mv := servable("resnet-1").Obj()
			pod := verified(t, servingPod(), mv, mode, filesCheck())
			before := len(pod.Spec.InitContainers)
			pod.Spec.InitContainers = append([]corev1.Container{{Name: "injected-first"}}, pod.Spec.InitContainers...)
			got := verified(t, pod, mv, mode, filesCheck())
			require.Len(t, got.Spec.InitContainers, before+1)
			assert.Equal(t, "injected-first", got.Spec.InitContainers[map[inject.ServingMount]int{inject.ServingImageVolume: 1, inject.ServingInitContainer: 0}[mode]].Name)
			for _, c := range got.Spec.InitContainers {
				if c.Name == "served-model-files" {
					assert.Len(t, c.VolumeMounts, 2, "it has no mounts of containers that serve the model")
				}
			}
		})
	}
}

func TestVerifyFilesResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		amounts := corev1.ResourceList{}
		for name, amount := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
			if amount != "" {
				amounts[name] = resource.MustParse(amount)
			}
		}
		return amounts
	}
	of := func(cpu, memory string) corev1.ResourceList {
		amounts := list(cpu, memory)
		amounts["nvidia.com/gpu"] = resource.MustParse("1")
		return amounts
	}
	for name, tt := range map[string]struct {
		first, want corev1.ResourceRequirements
	}{
		"BestEffort":              {want: corev1.ResourceRequirements{Requests: list("200m", "256Mi"), Limits: list("", "256Mi")}},
		"Burstable":               {first: corev1.ResourceRequirements{Requests: of("2", "8Gi")}, want: corev1.ResourceRequirements{Requests: list("2", "8Gi"), Limits: list("", "8Gi")}},
		"Burstable with a limit":  {first: corev1.ResourceRequirements{Requests: of("2", "64Mi"), Limits: of("", "1Gi")}, want: corev1.ResourceRequirements{Requests: list("2", "256Mi"), Limits: list("", "1Gi")}},
		"Guaranteed":              {first: corev1.ResourceRequirements{Requests: of("4", "8Gi"), Limits: of("4", "8Gi")}, want: corev1.ResourceRequirements{Requests: list("4", "8Gi"), Limits: list("4", "8Gi")}},
		"Guaranteed, with little": {first: corev1.ResourceRequirements{Requests: of("4", "64Mi"), Limits: of("4", "64Mi")}, want: corev1.ResourceRequirements{Requests: list("4", "256Mi"), Limits: list("4", "256Mi")}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := servingPod()
			pod.Spec.Containers[0].Resources = tt.first
			got := verified(t, pod, servable("resnet-1").Obj(), inject.ServingImageVolume, filesCheck())
			assert.Equal(t, tt.want, got.Spec.InitContainers[0].Resources)
		})
	}
}

func TestVerifyFilesRejects(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*corev1.Pod)
		want string
	}{
		"the container name is taken": {
			edit: func(pod *corev1.Pod) { pod.Spec.Containers[0].Name = "served-model-files" },
			want: "the pod already has a container with the name served-model-files, which is reserved for the one that verifies the model: rename the pod's container",
		},
		"the volume name is taken": {
			edit: func(pod *corev1.Pod) {
				pod.Spec.Volumes = []corev1.Volume{{Name: "served-model-list", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
			},
			want: "the pod already has a volume with the name served-model-list, which is reserved for the list of the model's files: rename the pod's volume",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := servingPod()
			tt.edit(pod)
			mv := servable("resnet-1").Obj()
			served, problem := inject.Serving(pod, mv, inject.ServingInitContainer)
			require.Nil(t, problem)
			problem = inject.VerifyFiles(served, mv, inject.ServingInitContainer, filesCheck())
			require.NotNil(t, problem)
			assert.Equal(t, tt.want, problem.Message)
		})
	}
}

func TestVerifiesFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		labels, annotations map[string]string
		want                bool
		problem             string
	}{
		"no label":           {},
		"the label":          {labels: map[string]string{v1alpha1.LabelVerify: "files"}, want: true},
		"another value":      {labels: map[string]string{v1alpha1.LabelVerify: "true"}, problem: `the pod's label model.kubedl.io/verify is "true": set it to "files", or remove it`},
		"an empty value":     {labels: map[string]string{v1alpha1.LabelVerify: ""}, problem: `the pod's label model.kubedl.io/verify is "": set it to "files", or remove it`},
		"in capital letters": {labels: map[string]string{v1alpha1.LabelVerify: "Files"}, problem: `set it to "files"`},
		"an annotation":      {annotations: map[string]string{v1alpha1.LabelVerify: "files"}, problem: "the pod has an annotation model.kubedl.io/verify: make it a label"},
	} {
		t.Run(name, func(t *testing.T) {
			got, problem := inject.VerifiesFiles(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tt.labels, Annotations: tt.annotations}})
			assert.Equal(t, tt.want, got)
			if tt.problem == "" {
				assert.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Contains(t, problem.Message, tt.problem)
		})
	}
}

// A namespace of OpenShift assigns the users of all containers.
func TestLeaveUserOfFilesCheck(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			pod := verified(t, servingPod(), servable("resnet-1").Obj(), mode, filesCheck())
			for _, c := range pod.Spec.InitContainers {
				assert.Equal(t, ptr.To[int64](65532), c.SecurityContext.RunAsUser)
			}
			inject.LeaveUser(pod)
			for _, c := range pod.Spec.InitContainers {
				assert.Nil(t, c.SecurityContext.RunAsUser)
			}
		})
	}
}

func TestVerificationListDigest(t *testing.T) {
	platform, unknown := builders.NewSigningKey(t), builders.NewSigningKey(t)
	keys := []inject.VerificationKey{{Namespaces: []string{inject.AllNamespaces}, Key: platform.Public()}}
	list := strings.Repeat("ef", 32)
	signedBy := func(key *sign.Key, image sign.Image) *v1alpha1.SignatureStatus {
		bundle, err := key.SignImage(image)
		require.NoError(t, err)
		return &v1alpha1.SignatureStatus{Bundle: string(bundle)}
	}
	listed := sign.Image{Repository: "modelhub/resnet", Digest: builders.Digest, List: list}
	rebuild := `kubectl annotate mv -n team-c mv-3 model.kubedl.io/rebuild="$(date +%s)" --overwrite`

	for name, tt := range map[string]struct {
		mode      inject.VerificationMode
		signature *v1alpha1.SignatureStatus
		problem   string
	}{
		"required and valid":               {mode: inject.VerificationRequire, signature: signedBy(platform, listed)},
		"by an unknown key, required":      {mode: inject.VerificationRequire, signature: signedBy(unknown, listed), problem: "it was not made with one of these keys"},
		"by an unknown key, with warnings": {mode: inject.VerificationWarn, signature: signedBy(unknown, listed), problem: "it was not made with one of these keys"},
		"by an unknown key, off":           {mode: inject.VerificationOff, signature: signedBy(unknown, listed)},
		"not signed, off":                  {mode: inject.VerificationOff, problem: "its image is not signed: create a Secret with a signing key, for example with cosign generate-key-pair k8s://team-c/modelkiln-signing and sign the image with: " + rebuild},
		"not signed, not configured":       {signature: &v1alpha1.SignatureStatus{}, problem: "its image is not signed"},
		"not signed, required":             {mode: inject.VerificationRequire, problem: "ask the platform team to add its public key"},
		"of another image, off":            {mode: inject.VerificationOff, signature: signedBy(platform, sign.Image{Digest: "sha256:" + strings.Repeat("0", 64), List: list}), problem: "the signature in its status is not valid: it is that of another image. To sign the image again: " + rebuild},
		"without the list":                 {mode: inject.VerificationRequire, signature: signature(t, platform, builders.Digest), problem: "its signature does not say which files the image has, because the image does not list their SHA-256 (spec.build.fileDigests: Skip), or because an earlier release has signed it. To sign the image again: " + rebuild},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("mv-3", "team-c").Built("modelhub/resnet:v1", builders.Digest).Obj()
			mv.Status.Signature = tt.signature
			digest, problem := inject.Verification{Mode: tt.mode, Keys: keys}.ListDigest(mv)
			if tt.problem == "" {
				assert.Empty(t, problem)
				assert.Equal(t, "sha256:"+list, digest)
				return
			}
			assert.Contains(t, problem, tt.problem)
			assert.Empty(t, digest)
		})
	}
}
