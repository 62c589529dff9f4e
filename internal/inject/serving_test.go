package inject_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// modes are the two ways for a pod to get a model, by the suffix of golden files.
var modes = map[string]inject.ServingMount{
	"image-volume":   inject.ServingImageVolume,
	"init-container": inject.ServingInitContainer,
}

// Each pod in testdata/serving becomes the ones next to it, for the ModelVersion
// next to them.
func TestServing(t *testing.T) {
	for name, file := range golden.Cases(t, "serving", ".modelversion.yaml") {
		for suffix, mode := range modes {
			t.Run(name+" by "+suffix, func(t *testing.T) {
				var mv v1alpha1.ModelVersion
				golden.ReadYAML(t, file, &mv)
				mv.UID = builders.ModelVersionUID
				var pod corev1.Pod
				golden.ReadYAML(t, strings.Replace(file, ".modelversion.", ".pod.", 1), &pod)
				before := pod.DeepCopy()

				got, problem := inject.Serving(&pod, &mv, mode)
				require.Nil(t, problem)
				golden.AssertYAML(t, strings.Replace(file, ".modelversion.", "."+suffix+".", 1), got)
				assert.Equal(t, before, &pod, "the given pod is not changed")
				assert.Equal(t, got.Annotations[v1alpha1.AnnotationServedImage], inject.ServedImage(got))

				again, problem := inject.Serving(got, &mv, mode)
				require.Nil(t, problem)
				assert.Equal(t, got, again, "a second call changes nothing")
			})
		}
	}
}

func TestServedImageOfOtherPods(t *testing.T) {
	empty := corev1.Volume{Name: "served-model", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	other := corev1.Container{Name: "served-model", Image: "busybox", Command: []string{"/bin/sh", "-c", "true"}}
	for name, spec := range map[string]corev1.PodSpec{
		"without a model":                    {},
		"with another volume of the name":    {Volumes: []corev1.Volume{empty}},
		"with another container of the name": {Volumes: []corev1.Volume{empty}, InitContainers: []corev1.Container{other}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Empty(t, inject.ServedImage(&corev1.Pod{Spec: spec}))
		})
	}
}

func TestServingOfACopiedPod(t *testing.T) {
	first := servable("resnet-1").Obj()
	second := servable("resnet-2").Built("modelhub/resnet:v2", "sha256:"+strings.Repeat("2", 64)).Obj()
	for was, before := range modes {
		for is, now := range modes {
			t.Run("from "+was+" to "+is, func(t *testing.T) {
				running, problem := inject.Serving(servingPod(), first, before)
				require.Nil(t, problem)
				want, problem := inject.Serving(servingPod(), second, now)
				require.Nil(t, problem)

				got, problem := inject.Serving(running, second, now)
				require.Nil(t, problem)
				assert.Equal(t, inYAML(t, want), inYAML(t, got))
			})
		}
	}
}

func inYAML(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	raw, err := yaml.Marshal(pod)
	require.NoError(t, err)
	return string(raw)
}

func TestServingOfContainersFromAnotherWebhook(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			served, problem := inject.Serving(servingPod(), servable("resnet-1").Obj(), mode)
			require.Nil(t, problem)
			served.Spec.Containers = append(served.Spec.Containers, corev1.Container{Name: "injected"})
			served.Spec.InitContainers = append([]corev1.Container{{Name: "injected-first"}}, served.Spec.InitContainers...)

			got, problem := inject.Serving(served, servable("resnet-1").Obj(), mode)
			require.Nil(t, problem)
			assert.Equal(t, served.Spec.Containers[0], got.Spec.Containers[0])
			assert.Equal(t, got.Spec.Containers[0].VolumeMounts, got.Spec.Containers[1].VolumeMounts)
			assert.Len(t, got.Spec.InitContainers, len(served.Spec.InitContainers), "the model is copied once")
		})
	}
}

func TestServingRejects(t *testing.T) {
	const createdWhenReady = "Pods of a Deployment, StatefulSet, DaemonSet or Job are created automatically once the ModelVersion is Ready; recreate a standalone pod yourself"
	ready := servable("resnet-1")
	with := func(phase v1alpha1.ImageBuildPhase, reason, message string) *builders.ModelVersionWrapper {
		status := v1alpha1.ModelVersionStatus{ImageBuildPhase: phase, Message: message}
		if reason != "" {
			status = withReason(status, reason)
		}
		return builders.MakeModelVersion("resnet-1", "team-a").Status(status)
	}
	mountPath := func(path string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations = map[string]string{v1alpha1.AnnotationMountPath: path} }
	}
	const invalidPath = "set it to an absolute path of letters, digits, '.', '_' and '-' without '..', for example /mnt/models"
	tests := map[string]struct {
		version *builders.ModelVersionWrapper
		edit    func(*corev1.Pod)
		mode    inject.ServingMount
		want    string
	}{
		"no pass yet":                       {version: builders.MakeModelVersion("resnet-1", "team-a"), want: "its build has not started. " + createdWhenReady},
		"building":                          {version: with(v1alpha1.ImageBuilding, v1alpha1.ReasonWorkflowRunning, "Step build runs"), want: "it is not built yet (WorkflowRunning): Step build runs. " + createdWhenReady},
		"waiting":                           {version: with(v1alpha1.ImageBuilding, v1alpha1.ReasonArgoMissing, "Argo Workflows is not installed"), want: "it is not built yet (ArgoMissing): Argo Workflows is not installed. " + createdWhenReady},
		"failed":                            {version: with(v1alpha1.ImageBuildFailed, v1alpha1.ReasonSourceMissing, "There is no /foo"), want: "its build failed (SourceMissing): There is no /foo. " + createdWhenReady},
		"failed under KubeDL":               {version: with(v1alpha1.ImageBuildFailed, "", ""), want: "its build failed under KubeDL and is not retried: name another ModelVersion"},
		"built by KubeDL, without a digest": {version: builders.MakeModelVersion("resnet-1", "team-a").Built("modelhub/resnet:v1", ""), want: "KubeDL built it and did not record the digest of its image: create a new ModelVersion, or name the image in the pod: modelhub/resnet:v1"},
		"a relative path":                   {version: ready, edit: mountPath("mnt/models"), want: invalidPath},
		"the root":                          {version: ready, edit: mountPath("/"), want: invalidPath},
		"an empty path":                     {version: ready, edit: mountPath(""), want: invalidPath},
		"a path with two dots":              {version: ready, edit: mountPath("/mnt/../etc"), want: invalidPath},
		"a path with one dot":               {version: ready, edit: mountPath("/mnt/./models"), want: invalidPath},
		"a path with a trailing slash":      {version: ready, edit: mountPath("/mnt/models/"), want: invalidPath},
		"a path with a colon":               {version: ready, edit: mountPath("/mnt:ro"), want: invalidPath},
		"a path with a variable":            {version: ready, edit: mountPath("/mnt/$(HOME)"), want: invalidPath},
		"a path with a line break":          {version: ready, edit: mountPath("/mnt/models\n"), want: invalidPath},
		"every container mounts something there": {
			version: ready, edit: func(pod *corev1.Pod) {
				pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "mine", MountPath: "/kubedl-model"}}
			}, want: "every container of the pod already mounts something at /kubedl-model: set the annotation model.kubedl.io/mount-path to another directory",
		},
		"the volume name is taken": {
			version: ready, edit: func(pod *corev1.Pod) { pod.Spec.Volumes = []corev1.Volume{{Name: "served-model"}} },
			want: "rename the pod's volume",
		},
		"the copying container is no init container": {
			version: ready, edit: func(pod *corev1.Pod) {
				copies, problem := inject.Serving(servingPod(), ready.Obj(), inject.ServingInitContainer)
				require.Nil(t, problem)
				pod.Spec.Containers = append(pod.Spec.Containers, copies.Spec.InitContainers[0])
			},
			mode: inject.ServingInitContainer, want: "rename the pod's container",
		},
		"the container name is taken": {
			version: ready, edit: func(pod *corev1.Pod) { pod.Spec.Containers[0].Name = "served-model" },
			mode: inject.ServingInitContainer, want: "rename the pod's container",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := servingPod()
			if tt.edit != nil {
				tt.edit(pod)
			}
			mode := inject.ServingImageVolume
			if tt.mode != "" {
				mode = tt.mode
			}
			got, problem := inject.Serving(pod, tt.version.Obj(), mode)
			require.NotNil(t, problem)
			assert.Contains(t, problem.Message, tt.want)
			assert.Same(t, pod, got)
		})
	}
}

// A namespace of OpenShift assigns a user, and refuses any other.
func TestLeaveUser(t *testing.T) {
	mv := builders.MakeModelVersion("resnet-1", "team-a").Built("modelhub/resnet:v1", builders.Digest).Obj()
	pod, problem := inject.Serving(servingPod(), mv, inject.ServingInitContainer)
	require.Nil(t, problem)
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](1000)}
	require.NotNil(t, pod.Spec.InitContainers[0].SecurityContext.RunAsUser)

	inject.LeaveUser(pod)
	assert.Nil(t, pod.Spec.InitContainers[0].SecurityContext.RunAsUser)
	assert.True(t, *pod.Spec.InitContainers[0].SecurityContext.RunAsNonRoot)
	assert.Equal(t, int64(1000), *pod.Spec.Containers[0].SecurityContext.RunAsUser, "a user of the pod's own stays")

	again, problem := inject.Serving(pod, mv, inject.ServingInitContainer)
	require.Nil(t, problem)
	assert.Equal(t, pod, again, "a copied manifest gets no second container")
}

func TestServingMountFor(t *testing.T) {
	for name, tt := range map[string]struct {
		server version.Info
		want   inject.ServingMount
	}{
		"1.31":                    {version.Info{Major: "1", Minor: "31"}, inject.ServingInitContainer},
		"1.34 with a plus":        {version.Info{Major: "1", Minor: "34+"}, inject.ServingInitContainer},
		"1.35":                    {version.Info{Major: "1", Minor: "35"}, inject.ServingImageVolume},
		"1.36 with a plus":        {version.Info{Major: "1", Minor: "36+"}, inject.ServingImageVolume},
		"2.0":                     {version.Info{Major: "2", Minor: "0"}, inject.ServingImageVolume},
		"1.36 that emulates 1.34": {version.Info{Major: "1", Minor: "36", EmulationMajor: "1", EmulationMinor: "34"}, inject.ServingInitContainer},
		"no version":              {version.Info{}, inject.ServingInitContainer},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, inject.ServingMountFor(tt.server))
		})
	}
}

// withReason returns a status with a Ready condition of this reason.
func withReason(status v1alpha1.ModelVersionStatus, reason string) v1alpha1.ModelVersionStatus {
	status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}
	return status
}

func servable(name string) *builders.ModelVersionWrapper {
	return builders.MakeModelVersion(name, "team-a").Built("registry.example.com:5000/modelhub/resnet:v1", builders.Digest)
}

func servingPod() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "server"}}}}
}
