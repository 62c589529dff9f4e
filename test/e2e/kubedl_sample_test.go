//go:build e2e

package e2e

import (
	"archive/tar"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

const (
	// sample is the example in KubeDL's documentation, and sampleSum the
	// SHA-256 of it as KubeDL published it.
	sample    = "../../deploy/samples/kubedl/mv-3.yaml"
	sampleSum = "8ca49bd0ad18ece983ea92711ae1249e0724bee8ca3d13035e580e8f03b729e3"
)

// This test runs alone, since the example names the directory, the namespace
// and the node.
func TestKubeDLSample(t *testing.T) {
	text, err := os.ReadFile(sample)
	require.NoError(t, err)
	require.Equal(t, sampleSum, content.Sum(string(text)), "the example is KubeDL's, byte for byte")
	run(t, "kubectl", "delete", "--ignore-not-found", "-f", sample)
	run(t, "kubectl", "delete", "--ignore-not-found", "model", "model1", "-n", "default")
	foo := claim(t, "/foo", map[string]string{
		"saved_model.pb":              strings.Repeat("graph", 100_000),
		"variables/variables.index":   "index",
		"variables/variables.data-00": strings.Repeat("\x00\x01weights\xff", 200_000),
		"assets/vocabulary.txt":       "the\nof\nand\n",
		".hidden":                     "",
	})
	live.deleteAfter(t, &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "model1"}})
	live.explainAfter(t, "default")

	run(t, "kubectl", "apply", "-f", sample)
	run(t, "kubectl", "wait", "--for=condition=Ready", "mv/mv-3", "-n", "default", "--timeout=5m")

	mv := &v1alpha1.ModelVersion{}
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "mv-3"}, mv))
	requireReady(t, mv)
	assert.Equal(t, live.registry+"/modelhub/resnet:v"+string(mv.UID)[:5], mv.Status.Image)
	assert.Equal(t, int64(5), mv.Status.Files)
	img := assertImage(t, mv, foo)
	assert.Contains(t, img.Config.Env, "KUBEDL_MODEL_PATH=/kubedl-model")
	assertLineage(t, mv, img)
	live.latest(t, mv)
	assertColumns(t, mv)
	assertLoads(t, mv, foo)
}

func assertLineage(t *testing.T, mv *v1alpha1.ModelVersion, img content.Image) {
	t.Helper()
	_, tag, _ := strings.Cut(strings.TrimPrefix(mv.Status.Image, live.registry), ":")
	want := map[string]string{
		"org.opencontainers.image.title":     mv.Spec.ModelName,
		"org.opencontainers.image.version":   tag,
		"org.opencontainers.image.authors":   mv.Spec.CreatedBy,
		"org.opencontainers.image.base.name": live.registry + "/library/busybox:1.37",
		"org.opencontainers.image.created":   mv.CreationTimestamp.UTC().Format(time.RFC3339),
		"model.kubedl.io/model-name":         mv.Spec.ModelName,
		"model.kubedl.io/model-version":      mv.Name,
		"model.kubedl.io/model-version-uid":  string(mv.UID),
		"model.kubedl.io/created-by":         mv.Spec.CreatedBy,
	}
	for label, value := range want {
		assert.Equal(t, value, img.Config.Labels[label], "label %s", label)
	}
	assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, img.Config.Labels["org.opencontainers.image.base.digest"])
}

// assertColumns checks the columns that kubectl get prints of a ModelVersion
// and its Model.
func assertColumns(t *testing.T, mv *v1alpha1.ModelVersion) {
	t.Helper()
	header, row := table(t, "mv", mv.Namespace, mv.Name)
	assert.Equal(t, []string{"NAME", "MODEL", "STATE", "IMAGE", "DIGEST", "CREATED-BY", "AGE"}, header)
	assert.Equal(t, []string{"mv-3", "model1", "ImageBuildSucceeded", mv.Status.Image, strings.TrimPrefix(mv.Status.Digest, "sha256:")[:12], "user1"}, row[:6])
	assert.Regexp(t, `^\d+[sm]`, row[6])

	header, row = table(t, "mo", mv.Namespace, mv.Spec.ModelName)
	assert.Equal(t, []string{"NAME", "LATEST-VERSION", "LATEST-IMAGE", "AGE"}, header)
	assert.Equal(t, []string{"model1", "mv-3", mv.Status.Image}, row[:3])
}

func table(t *testing.T, kind, namespace, name string) (header, row []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(run(t, "kubectl", "get", kind, name, "-n", namespace)), "\n")
	require.Len(t, lines, 2)
	return strings.Fields(lines[0]), strings.Fields(lines[1])
}

// assertLoads uses the image in the two ways in which serving does: a container
// of the image copies the model, as in KubeDL, and a volume of the image.
func assertLoads(t *testing.T, mv *v1alpha1.ModelVersion, from directory) {
	t.Helper()
	sums := func(dir string) []string {
		return []string{"/bin/sh", "-c", "cd " + dir + ` && find . -type f -exec sha256sum {} +`}
	}
	mnt := []corev1.VolumeMount{{Name: "model", MountPath: "/mnt"}}
	copied := live.logOf(t, "default", corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "loader", Image: mv.Status.Image, Command: []string{"/bin/sh", "-c", "cp -r /kubedl-model/* /mnt/"}, VolumeMounts: mnt}},
		Containers:     []corev1.Container{{Name: "server", Image: live.registry + "/library/busybox:1.37", Command: sums("/mnt"), VolumeMounts: mnt}},
		Volumes:        []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	})
	want := sumsOf(t, from)
	// The shell's * leaves out hidden names, as KubeDL's loader does.
	visible := sumsOf(t, from)
	delete(visible, ".hidden")
	assert.Equal(t, visible, parseSums(copied), "what KubeDL's loader copied")

	mounted := live.logOf(t, "default", corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "server", Image: live.registry + "/library/busybox:1.37", Command: sums("/model"),
			VolumeMounts: []corev1.VolumeMount{{Name: "model", MountPath: "/model", SubPath: "kubedl-model"}},
		}},
		Volumes: []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: mv.Status.Image}}}},
	})
	assert.Equal(t, want, parseSums(mounted), "what an image volume shows")
}

// sumsOf returns the SHA-256 sums of a directory's files, by path.
func sumsOf(t *testing.T, from directory) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for at, found := range from.entries(t) {
		if found.Type == tar.TypeReg {
			sums[at] = found.SHA256
		}
	}
	return sums
}

// parseSums parses what sha256sum printed.
func parseSums(text string) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(text) {
		if sum, at, found := strings.Cut(strings.TrimSpace(line), "  "); found {
			sums[strings.TrimPrefix(at, "./")] = sum
		}
	}
	return sums
}
