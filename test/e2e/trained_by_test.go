//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// training returns a Job whose pod runs a command with a ModelVersion's
// storage.
func (c *cluster) training(name, namespace, version, command string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To(int32(0)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelTrainVersion: version}},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					Containers: []corev1.Container{{
						Name: "train", Image: c.registry + "/library/busybox:1.37", Command: []string{"sh", "-c", command},
					}},
				},
			},
		},
	}
}

// waitsForTraining waits until the ModelVersion reports that it waits for its
// training, with this text.
func (c *cluster) waitsForTraining(t *testing.T, mv *v1alpha1.ModelVersion, part string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		now := c.refresh(t, mv)
		require.Equal(collect, v1alpha1.ReasonWaitingForTraining, conditionReady(now).Reason, now.Status.Message)
		require.Contains(collect, now.Status.Message, part)
	}, noticeTime, tick)
}

func TestTrainedBy(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		parent  string
		storage func(w *builders.ModelVersionWrapper, dir directory)
		node    string
	}{
		"in a directory of a node": {
			parent: models, node: nodeName,
			storage: func(w *builders.ModelVersionWrapper, dir directory) { w.LocalStorage(string(dir), nodeName) },
		},
		"on an NFS server": {
			parent:  nfsExports,
			storage: func(w *builders.ModelVersionWrapper, dir directory) { w.NFS(nfsServer, "/"+filepath.Base(string(dir))) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := newDirectoryIn(t, tt.parent)
			version := builders.MakeModelVersion("trained", ns).ImageRepo("e2e/"+ns).TrainedBy("batch/v1", "Job", "train")
			tt.storage(version, dir)
			mv := version.New()
			live.create(t, mv)
			live.waitsForTraining(t, mv, "Job train")

			job := live.training("train", ns, "trained", `echo weights > "$KUBEDL_MODEL_PATH/model.bin"`)
			live.create(t, job)
			began := time.Now()
			mv = live.ready(t, mv)

			t.Logf("figure: training and build: %.1f s", time.Since(began).Seconds())
			img := assertImage(t, mv, dir)
			assert.Equal(t, content.File("weights\n"), img.Model["model.bin"])
			assert.Equal(t, tt.node, mv.Status.NodeName)
			assert.Equal(t, int64(1), mv.Status.Attempts)
		})
	}
}

func TestTrainedByFailure(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	mv := makeVersion("trained", ns, dir).TrainedBy("batch/v1", "Job", "train").New()
	job := live.training("train", ns, "trained", "exit 1")
	live.create(t, job)

	mv, took := live.failed(t, mv)

	assertFailed(t, mv, v1alpha1.ReasonTrainingFailed, "BackoffLimitExceeded")
	logNoticed(t, mv, took)
	require.NoError(t, live.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	live.awaitAbsent(t, job)
	live.create(t, live.training("train", ns, "trained", `echo weights > "$KUBEDL_MODEL_PATH/model.bin"`))
	assertImage(t, live.readyAfterTraining(t, mv), dir)
}

// readyAfterTraining returns the ModelVersion when it is Ready after its
// training had failed.
func (c *cluster) readyAfterTraining(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	now := c.settled(t, mv, func(now *v1alpha1.ModelVersion) bool { return now.Status.Workflow != nil })
	return requireReady(t, now)
}
