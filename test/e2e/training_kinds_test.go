//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// trainingWorkload is a kind that trains, with the manifest that a user writes for it.
// Its pod names the ModelVersion "trained", and its program gets MODE as its
// argument. No controller retries it.
type trainingWorkload struct {
	apiVersion, kind string
	manifest         string
}

var workloads = map[string]trainingWorkload{
	"a Job": {apiVersion: "batch/v1", kind: "Job", manifest: `
apiVersion: batch/v1
kind: Job
metadata:
  name: train
spec:
  backoffLimit: 0
  template:
    metadata:
      labels:
        model.kubedl.io/train-version: trained
    spec:
      restartPolicy: Never
      containers:
        - name: train
          image: REGISTRY/library/two-spirals:latest
          args: [MODE]
`},
	"a JobSet": {apiVersion: "jobset.x-k8s.io/v1alpha2", kind: "JobSet", manifest: `
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: train
spec:
  replicatedJobs:
    - name: node
      template:
        spec:
          backoffLimit: 0
          template:
            metadata:
              labels:
                model.kubedl.io/train-version: trained
            spec:
              restartPolicy: Never
              containers:
                - name: train
                  image: REGISTRY/library/two-spirals:latest
                  args: [MODE]
`},
	"a PyTorchJob": {apiVersion: "kubeflow.org/v1", kind: "PyTorchJob", manifest: pyTorchJob},
	"a TFJob": {apiVersion: "kubeflow.org/v1", kind: "TFJob", manifest: `
apiVersion: kubeflow.org/v1
kind: TFJob
metadata:
  name: train
spec:
  runPolicy:
    backoffLimit: 0
  tfReplicaSpecs:
    Chief:
      replicas: 1
      restartPolicy: Never
      template:
        metadata:
          labels:
            model.kubedl.io/train-version: trained
        spec:
          containers:
            - name: tensorflow
              image: REGISTRY/library/two-spirals:latest
              args: [MODE]
`},
	"a TrainJob": {apiVersion: "trainer.kubeflow.org/v1alpha1", kind: "TrainJob", manifest: `
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainingRuntime
metadata:
  name: two-spirals
spec:
  mlPolicy:
    numNodes: 1
  template:
    spec:
      replicatedJobs:
        - name: node
          template:
            metadata:
              labels:
                trainer.kubeflow.org/trainjob-ancestor-step: trainer
            spec:
              backoffLimit: 0
              template:
                spec:
                  restartPolicy: Never
                  containers:
                    - name: node
                      image: REGISTRY/library/two-spirals:latest
---
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata:
  name: train
spec:
  runtimeRef:
    kind: TrainingRuntime
    name: two-spirals
  trainer:
    args: [MODE]
  podTemplateOverrides:
    - targetJobs:
        - name: node
      metadata:
        labels:
          model.kubedl.io/train-version: trained
`},
}

// pyTorchJob has two pods with the ModelVersion's storage. The master's trains.
const pyTorchJob = `
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata:
  name: train
spec:
  runPolicy:
    backoffLimit: 0
  pytorchReplicaSpecs:
    Master:
      replicas: 1
      restartPolicy: Never
      template:
        metadata:
          labels:
            model.kubedl.io/train-version: trained
        spec:
          containers:
            - name: pytorch
              image: REGISTRY/library/two-spirals:latest
              args: [MODE]
    Worker:
      replicas: 1
      restartPolicy: Never
      template:
        metadata:
          labels:
            model.kubedl.io/train-version: trained
        spec:
          containers:
            - name: pytorch
              image: REGISTRY/library/busybox:1.37
              command: ["true"]
`

// versionOf returns the ModelVersion that a workload trains, with its storage
// in YAML.
func (w trainingWorkload) versionOf(namespace, storage string) string {
	return `
apiVersion: model.kubedl.io/v1alpha1
kind: ModelVersion
metadata:
  name: trained
spec:
  modelName: two-spirals
  imageRepo: e2e/` + namespace + `
  trainedBy:
    apiVersion: ` + w.apiVersion + `
    kind: ` + w.kind + `
    name: train
  storage: ` + storage + `
---
`
}

// apply applies the workload and its ModelVersion together, and returns the
// ModelVersion. It tries again for a while, because Kubeflow Trainer's webhook
// may not have seen the TrainingRuntime of a TrainJob that follows it at once.
func (w trainingWorkload) apply(t *testing.T, namespace, mode, storage string) *v1alpha1.ModelVersion {
	t.Helper()
	manifest := strings.NewReplacer("REGISTRY", live.registry, "MODE", mode).Replace(w.versionOf(namespace, storage) + w.manifest)
	file := filepath.Join(t.TempDir(), "training.yaml")
	require.NoError(t, os.WriteFile(file, []byte(manifest), 0o600))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := try(t.Context(), "kubectl", "apply", "-n", namespace, "-f", file)
		assert.NoError(c, err)
	}, 30*time.Second, time.Second)
	return &v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "trained"}}
}

func TestTrainingKinds(t *testing.T) {
	t.Parallel()
	for name, w := range workloads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			disk := newDirectory(t)
			live.claimOf(t, ns, "disk", disk)

			mv := w.apply(t, ns, "train", `{persistentVolumeClaim: {claimName: disk, subPath: run}}`)
			live.waitsForTraining(t, mv, w.kind+" train")
			assertSpirals(t, live.ready(t, mv), directory(disk.at("run")))
		})
	}
}

func TestTrainingKindsFailure(t *testing.T) {
	t.Parallel()
	for name, w := range workloads {
		if w.kind == "Job" {
			// TestTrainedByFailure has a Job.
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			disk := newDirectory(t)
			live.claimOf(t, ns, "disk", disk)

			mv := w.apply(t, ns, "no-such-mode", `{persistentVolumeClaim: {claimName: disk, subPath: run}}`)
			now := live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
			assertFailed(t, now, v1alpha1.ReasonTrainingFailed, w.kind+" train")
			assert.Equal(t, v1alpha1.ImageBuildFailed, now.Status.ImageBuildPhase)
			assert.Nil(t, now.Status.Workflow, "nothing is built")
		})
	}
}

// Each pod has a directory of its own node: the model is what the master wrote.
func TestTrainingNodeOfMaster(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	w := workloads["a PyTorchJob"]
	mv := live.ready(t, w.apply(t, ns, "train", `{localStorage: {path: `+string(dir)+`}}`))
	assertSpirals(t, mv, dir)
	assert.Equal(t, nodeName, mv.Status.NodeName)
}

func TestTrainedModelIsServed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	mv := live.ready(t, workloads["a Job"].apply(t, ns, "train", `{localStorage: {path: `+string(newDirectory(t))+`}}`))
	model := corev1.VolumeMount{Name: "model", MountPath: v1alpha1.ModelPath, SubPath: strings.TrimPrefix(v1alpha1.ModelPath, "/")}
	out := live.logOf(t, ns, corev1.PodSpec{
		InitContainers: []corev1.Container{{
			Name: "serves", Image: live.registry + "/library/two-spirals:latest", Args: []string{"serve"},
			Env:           []corev1.EnvVar{{Name: v1alpha1.ModelPathEnv, Value: model.MountPath}},
			VolumeMounts:  []corev1.VolumeMount{model},
			RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
			StartupProbe:  &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}},
		}},
		Containers: []corev1.Container{shell("asks", `wget -q -O - --post-data '{"x": 0, "y": -0.2667}' http://127.0.0.1:8080/`)},
		Volumes:    []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: mv.Status.Image}}}},
	})
	assert.Contains(t, out, `"spiral":1`)
}

// assertSpirals checks that the ModelVersion's image holds what the training
// wrote into the directory.
func assertSpirals(t *testing.T, mv *v1alpha1.ModelVersion, from directory) {
	t.Helper()
	img := assertImage(t, mv, from)
	assert.Contains(t, img.Model, "model.safetensors")
	assert.Contains(t, img.Model, "config.json")
}
