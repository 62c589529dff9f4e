package translate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/test/builders"
)

// Each pod in testdata/training becomes the one beside it, for the version
// beside both.
func TestATrainingPodGetsTheVersionsStorage(t *testing.T) {
	for name, file := range cases(t, "training", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			read(t, file, &mv)
			var pod corev1.Pod
			read(t, strings.Replace(file, ".modelversion.", ".pod.", 1), &pod)
			asItWas, version := pod.DeepCopy(), mv.DeepCopy()

			got, problem := translate.Training(&pod, &mv, configured(t, file))
			require.Nil(t, problem)
			golden(t, strings.Replace(file, ".modelversion.", ".trained.", 1), got)
			assert.Equal(t, asItWas, &pod, "the pod that was given stays as it is")
			assert.Equal(t, version, &mv, "the version stays as it is")

			again, problem := translate.Training(got, &mv, configured(t, file))
			require.Nil(t, problem)
			assert.Equal(t, got, again, "a second time changes nothing")
		})
	}
}

func TestATrainingPodIsRefusedWhatAVersionIsRefused(t *testing.T) {
	opts := config.Default().Options()
	opts.HostPaths.Allowed = []string{"/models"}
	opts.NFS.Allowed = []string{"nas.example.com"}
	for name, mv := range map[string]*builders.ModelVersionWrapper{
		"a system folder":                         builders.MakeModelVersion("mv", "default").LocalStorage("/etc", "node-1"),
		"a folder that is not allowed":            builders.MakeModelVersion("mv", "default").LocalStorage("/home/data", "node-1"),
		"no folder":                               builders.MakeModelVersion("mv", "default").LocalStorage("", ""),
		"a server that is not allowed":            builders.MakeModelVersion("mv", "default").NFS("other.example.com", "/exports"),
		"a file system that is not allowed":       builders.MakeModelVersion("mv", "default").AWSEfs("fs-12345678"),
		"a claim without a name":                  builders.MakeModelVersion("mv", "default").Claim("", ""),
		"a version that KubeDL left, of no kind":  builders.MakeModelVersion("mv", "default"),
		"an NFS server without a folder of files": builders.MakeModelVersion("mv", "default").NFS("nas.example.com", ""),
	} {
		t.Run(name, func(t *testing.T) {
			pod := trainingPod()
			want := translate.NextStep(translate.Observed{Version: mv.Obj(), TemplateFound: true, TemplateMarked: true}, opts).Status.Message

			got, problem := translate.Training(pod, mv.Obj(), opts)
			require.NotNil(t, problem)
			assert.Equal(t, want, problem.Message, "the pod is told what the version says")
			assert.Same(t, pod, got)
		})
	}
}

func TestAFolderOfNoCertainNodeIsHeldToTheSameRules(t *testing.T) {
	opts := config.Default().Options()
	opts.HostPaths.Allowed = []string{"/models"}
	_, problem := translate.Training(trainingPod(), builders.MakeModelVersion("mv", "default").LocalStorage("/home/data", "").Obj(), opts)
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonSourceForbidden, problem.Reason)
	assert.Contains(t, problem.Message, "allowedHostPaths")
}

func TestAPodsOwnVolumeOfThatNameIsNotTakenForTheStorage(t *testing.T) {
	pod := trainingPod()
	pod.Spec.Volumes = []corev1.Volume{{Name: "kubedl-model"}}
	got, problem := translate.Training(pod, builders.MakeModelVersion("mv", "default").Claim("models", "").Obj(), options)
	require.NotNil(t, problem)
	assert.Contains(t, problem.Message, "give the pod's volume another name")
	assert.Same(t, pod, got)
}

func trainingPod() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "train"}}}}
}
