package inject_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// Each pod in testdata/training becomes the one next to it, for the ModelVersion
// next to both.
func TestTraining(t *testing.T) {
	for name, file := range golden.Cases(t, "training", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			golden.ReadYAML(t, file, &mv)
			var pod corev1.Pod
			golden.ReadYAML(t, strings.Replace(file, ".modelversion.", ".pod.", 1), &pod)
			podBefore, mvBefore := pod.DeepCopy(), mv.DeepCopy()

			got, problem := inject.Training(&pod, &mv, loadOptions(t, golden.Beside(file, ".modelversion.yaml", ".config.yaml")))
			require.Nil(t, problem)
			golden.AssertYAML(t, strings.Replace(file, ".modelversion.", ".trained.", 1), got)
			assert.Equal(t, podBefore, &pod, "the given pod is not changed")
			assert.Equal(t, mvBefore, &mv, "the ModelVersion is not changed")

			again, problem := inject.Training(got, &mv, loadOptions(t, golden.Beside(file, ".modelversion.yaml", ".config.yaml")))
			require.Nil(t, problem)
			assert.Equal(t, got, again, "a second call changes nothing")
		})
	}
}

func TestTrainingRejectsWhatTheBuildRejects(t *testing.T) {
	opts := config.Default().Options()
	opts.HostPaths.Allowed = []string{"/models"}
	opts.NFS.Allowed = []string{"nas.example.com"}
	for name, mv := range map[string]*builders.ModelVersionWrapper{
		"a system directory":                builders.MakeModelVersion("mv", "default").LocalStorage("/etc", "node-1"),
		"a directory that is not allowed":   builders.MakeModelVersion("mv", "default").LocalStorage("/home/data", "node-1"),
		"no directory":                      builders.MakeModelVersion("mv", "default").LocalStorage("", ""),
		"a server that is not allowed":      builders.MakeModelVersion("mv", "default").NFS("other.example.com", "/exports"),
		"a file system that is not allowed": builders.MakeModelVersion("mv", "default").AWSEfs("fs-12345678"),
		"a claim without a name":            builders.MakeModelVersion("mv", "default").Claim("", ""),
		"no storage, as KubeDL allows":      builders.MakeModelVersion("mv", "default"),
		"an NFS server without a path":      builders.MakeModelVersion("mv", "default").NFS("nas.example.com", ""),
	} {
		t.Run(name, func(t *testing.T) {
			pod := trainingPod()
			want := lifecycle.NextStep(lifecycle.Observed{Version: mv.Obj(), TemplateFound: true, TemplateMarked: true}, opts).Status.Message

			got, problem := inject.Training(pod, mv.Obj(), opts)
			require.NotNil(t, problem)
			assert.Equal(t, want, problem.Message, "the message is that of the ModelVersion")
			assert.Same(t, pod, got)
		})
	}
}

func TestTrainingWithStorageThatIsNotMounted(t *testing.T) {
	opts := config.Default().Options()
	opts.S3.Allowed, opts.HuggingFace.Allowed = []string{"minio.example.com"}, []string{"huggingface.co"}
	for name, mv := range map[string]*builders.ModelVersionWrapper{
		"a bucket": builders.MakeModelVersion("mv", "default").S3("https://minio.example.com", "models", "llama"),
		"a hub":    builders.MakeModelVersion("mv", "default").HuggingFace("", "mistralai/Mistral-7B-v0.3"),
	} {
		t.Run(name, func(t *testing.T) {
			pod := trainingPod()
			got, problem := inject.Training(pod, mv.Obj(), opts)
			require.NotNil(t, problem)
			assert.Contains(t, problem.Message, "Pods cannot mount the storage kinds s3 and huggingFace. To train with this ModelVersion, name the workload in spec.trainedBy")
			assert.Same(t, pod, got)
		})
	}
}

func TestTrainingWithAnImage(t *testing.T) {
	pod := trainingPod()
	mv := builders.MakeModelVersion("mv", "default").ExistingImage("v1", "sha256:"+strings.Repeat("0", 64)).Obj()
	got, problem := inject.Training(pod, mv, config.Default().Options())
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonInvalidSpec, problem.Reason)
	assert.Contains(t, problem.Message, "Its storage is an image that exists already, and no pod can write to it. Remove the label model.kubedl.io/train-version")
	assert.Same(t, pod, got)
}

func TestTrainingDirectoryOfNoParticularNode(t *testing.T) {
	opts := config.Default().Options()
	opts.HostPaths.Allowed = []string{"/models"}
	_, problem := inject.Training(trainingPod(), builders.MakeModelVersion("mv", "default").LocalStorage("/home/data", "").Obj(), opts)
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonSourceForbidden, problem.Reason)
	assert.Contains(t, problem.Message, "allowedHostPaths")
}

func TestTrainingVolumeNameTaken(t *testing.T) {
	pod := trainingPod()
	pod.Spec.Volumes = []corev1.Volume{{Name: "kubedl-model"}}
	got, problem := inject.Training(pod, builders.MakeModelVersion("mv", "default").Claim("models", "").Obj(), config.Default().Options())
	require.NotNil(t, problem)
	assert.Contains(t, problem.Message, "rename the pod's volume")
	assert.Same(t, pod, got)
}

func trainingPod() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "train"}}}}
}

func TestTrainingFromTemplate(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "train"}}}}
	mv := builders.MakeModelVersion("mv-train-a1b2c", "team").Claim("models", "").Obj()
	trained, problem := inject.TrainingFromTemplate(pod, mv, workflow.Options{})
	require.Nil(t, problem)
	assert.Equal(t, "mv-train-a1b2c", trained.Labels[v1alpha1.LabelTrainVersion])
	assert.Equal(t, "models", trained.Spec.Volumes[0].PersistentVolumeClaim.ClaimName)

	mv.Spec.Storage = v1alpha1.Storage{AWSEfs: &v1alpha1.AWSEfs{}}
	_, problem = inject.TrainingFromTemplate(pod, mv, workflow.Options{})
	require.NotNil(t, problem)
	assert.Contains(t, problem.Message, "apply the ModelVersion together with the workload")
}

// loadOptions returns the operator's options with the configuration in a file,
// or the defaults without one.
func loadOptions(t *testing.T, file string) workflow.Options {
	t.Helper()
	c, err := config.Load(file)
	require.NoError(t, err)
	return c.Options()
}
