//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

func TestTrainingStorage(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)

	t.Run("into a directory of the node, at the path that the ModelVersion names", func(t *testing.T) {
		dir := newDirectory(t)
		mv := makeVersion("local", ns, dir).New()
		mv.Spec.Storage.LocalStorage.MountPath = "/out"
		mv, _ = live.failed(t, mv)
		assertFailed(t, mv, v1alpha1.ReasonSourceEmpty, string(dir))

		pod := live.train(t, trainingJob(ns, mv.Name))
		assert.Equal(t, nodeName, pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0])
		assertWritten(t, pod, dir, "/out")
		assertImage(t, live.rebuilt(t, mv), dir)
	})
	t.Run("into a directory of a claim that the training creates", func(t *testing.T) {
		disk := newDirectory(t)
		live.claimOf(t, ns, "training-output", disk)
		mv := makeVersion("claim", ns, "").Model("claim").Claim("training-output", "runs/7").New()
		mv.Spec.Storage.LocalStorage = nil
		mv, _ = live.failed(t, mv)
		assertFailed(t, mv, v1alpha1.ReasonSourceMissing, "runs/7")

		pod := live.train(t, trainingJob(ns, mv.Name))
		assertWritten(t, pod, directory(disk.at("runs/7")), v1alpha1.ModelPath)
		assertImage(t, live.rebuilt(t, mv), directory(disk.at("runs/7")))
	})
}

// The Job's controller creates the pod once there is a volume to write to.
func TestTrainingWaitsForVersion(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	job := trainingJob(ns, "later")
	live.create(t, job)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var events corev1.EventList
		require.NoError(collect, live.List(t.Context(), &events, client.InNamespace(ns), client.MatchingFields{"involvedObject.name": job.Name, "reason": "FailedCreate"}))
		require.NotEmpty(collect, events.Items)
		assert.Contains(collect, events.Items[0].Message, `ModelVersion "later" not found in namespace `+ns)
	}, noticeTime, tick)

	live.create(t, makeVersion("later", ns, dir).New())
	live.awaitCompleted(t, job)
	assert.FileExists(t, dir.at("weights.bin"))
}

// trainingJob returns a Job that names a ModelVersion. An init container writes
// a file, and another container continues its work.
func trainingJob(namespace, version string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "train-" + version},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelTrainVersion: version}},
			Spec: corev1.PodSpec{
				RestartPolicy:  corev1.RestartPolicyNever,
				InitContainers: []corev1.Container{shell("prepares", `echo '{"layers": 2}' > "$KUBEDL_MODEL_PATH/config.json"`)},
				Containers:     []corev1.Container{shell("trains", `cat "$KUBEDL_MODEL_PATH/config.json" > "$KUBEDL_MODEL_PATH/weights.bin" && echo "$KUBEDL_MODEL_PATH"`)},
			},
		}},
	}
}

func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: live.registry + "/library/busybox:1.37", Command: []string{"sh", "-ec", script}}
}

// train runs a Job to its end and returns its pod.
func (c *cluster) train(t *testing.T, job *batchv1.Job) *corev1.Pod {
	t.Helper()
	c.create(t, job)
	c.awaitCompleted(t, job)
	var pods corev1.PodList
	require.NoError(t, c.List(t.Context(), &pods, client.InNamespace(job.Namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name}))
	require.Len(t, pods.Items, 1)
	return &pods.Items[0]
}

// awaitCompleted waits for a Job to complete. A Job whose pods are rejected
// waits between its attempts.
func (c *cluster) awaitCompleted(t *testing.T, job *batchv1.Job) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var now batchv1.Job
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(job), &now))
		require.EqualValues(collect, 1, now.Status.Succeeded, "%+v", now.Status)
	}, 2*time.Minute, tick)
}

// assertWritten checks that the containers of a training pod found the
// directory at that path.
func assertWritten(t *testing.T, pod *corev1.Pod, dir directory, at string) {
	t.Helper()
	assert.Equal(t, map[string]content.Entry{
		".": content.Directory, "config.json": content.File("{\"layers\": 2}\n"), "weights.bin": content.File("{\"layers\": 2}\n"),
	}, dir.entries(t))
	assert.Equal(t, at, strings.TrimSpace(run(t, "kubectl", "logs", "-n", pod.Namespace, pod.Name, "-c", "trains")))
}

// rebuilt requests a new attempt, as a user does, and returns the ModelVersion
// when that has made it Ready.
func (c *cluster) rebuilt(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	run(t, "kubectl", "annotate", "mv", mv.Name, "-n", mv.Namespace, v1alpha1.AnnotationRebuild+"=trained")
	return c.readyAgain(t, mv)
}
