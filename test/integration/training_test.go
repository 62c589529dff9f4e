package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// trainedBy lets a ModelVersion wait for a workload.
func trainedBy(apiVersion, kind, name string) change {
	return set("spec.trainedBy", map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name})
}

// newJob returns a Job in the sandbox's namespace.
func (s sandbox) newJob(name string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "train", Image: "train"}},
		}}},
	}
}

func (s sandbox) createJob(name string) *batchv1.Job {
	s.t.Helper()
	job := s.newJob(name)
	require.NoError(s.t, s.client.Create(s.t.Context(), job))
	return job
}

// finishJob sets the final status of a Job, as its controller would.
func (s sandbox) finishJob(job *batchv1.Job, conditions ...batchv1.JobCondition) {
	s.t.Helper()
	now := metav1.Now()
	job.Status.StartTime = &now
	for i := range conditions {
		conditions[i].Status = corev1.ConditionTrue
		if conditions[i].Type == batchv1.JobComplete {
			job.Status.CompletionTime, job.Status.Succeeded = &now, 1
		}
	}
	job.Status.Conditions = conditions
	require.NoError(s.t, s.client.Status().Update(s.t.Context(), job))
}

func (s sandbox) completeJob(job *batchv1.Job) {
	s.t.Helper()
	s.finishJob(job, batchv1.JobCondition{Type: batchv1.JobSuccessCriteriaMet}, batchv1.JobCondition{Type: batchv1.JobComplete})
}

func (s sandbox) failJob(job *batchv1.Job) {
	s.t.Helper()
	s.finishJob(job, batchv1.JobCondition{Type: batchv1.JobFailureTarget}, batchv1.JobCondition{Type: batchv1.JobFailed, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit"})
}

func TestTraining(t *testing.T) {
	startOperator(t, shared)

	t.Run("the build starts when the Job completes", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		assert.Equal(t, waiting, conditionStatuses(mv))
		assert.Contains(t, mv.Status.Message, "Job train does not exist yet")

		job := s.createJob("train")
		s.awaitMessage("Job train has not completed")
		assert.Empty(t, s.argo.workflows())
		s.completeJob(job)
		s.completeBuild(s.argo.awaitOnlyWorkflow())
	})

	t.Run("a failed Job fails the ModelVersion, and a new Job of the same name is waited for", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		job := s.createJob("train")
		s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)

		s.failJob(job)
		mv := s.awaitReason(resnet, v1alpha1.ReasonTrainingFailed)
		assert.Equal(t, stalled, conditionStatuses(mv))
		assert.Equal(t, v1alpha1.ImageBuildFailed, mv.Status.ImageBuildPhase)
		assert.Contains(t, mv.Status.Message, "BackoffLimitExceeded: Job has reached the specified backoff limit")
		s.awaitEvent("ModelVersion", v1alpha1.ReasonTrainingFailed, "")

		require.NoError(t, s.client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		s.completeJob(s.createJob("train"))
		s.completeBuild(s.argo.awaitOnlyWorkflow())
	})

	t.Run("the build starts when trainedBy is removed", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.createJob("train")
		s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)

		patch := client.RawPatch("application/json-patch+json", []byte(`[{"op":"remove","path":"/spec/trainedBy"}]`))
		require.NoError(t, s.client.Patch(t.Context(), s.version(resnet), patch))
		s.completeBuild(s.argo.awaitOnlyWorkflow())
	})

	t.Run("a Job of another name or namespace has no effect", func(t *testing.T) {
		t.Parallel()
		s, elsewhere := newSandbox(t, shared), newSandbox(t, shared)
		s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		s.completeJob(s.createJob("other"))
		s.completeJob(elsewhere.createJob("train"))
		s.create(claimVersion, set("metadata.name", "resnet-2"), trainedBy("batch/v1", "Job", "other"))
		s.argo.awaitAttempt(s.version("resnet-2"), 1)
		assert.Len(t, s.argo.workflows(), 1)
		assert.Equal(t, v1alpha1.ReasonWaitingForTraining, readyReason(s.version(resnet)))
	})

	t.Run("an unknown kind is reported", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(claimVersion, trainedBy("example.com/v1", "TrainingRun", "train"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTrainingKindUnknown)
		assert.Contains(t, mv.Status.Message, "trainingKinds")
	})

}

func TestTrainingStorage(t *testing.T) {
	startOperator(t, shared, withEFS())

	t.Run("the build runs on the node of the training's pod", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion, remove(localNode), trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		job := s.createJob("train")
		pod := s.createTrainingPod("train-x", "node-7", map[string]string{v1alpha1.LabelTrainVersion: resnet})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, "node-7", s.version(resnet).Status.NodeName)
		}, deadline, tick)

		require.NoError(t, s.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
		s.completeJob(job)
		wf := s.argo.awaitOnlyWorkflow()
		assert.Equal(t, "node-7", wf.Spec.Arguments.GetParameterByName(contract.ParamNodeName).Value.String())
		s.completeBuild(wf)
	})

	t.Run("the claim exists before the training completes", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		mv := s.create(efsVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		claim := s.claim(mv)
		assert.True(t, metav1.IsControlledBy(claim, mv))
		assert.Empty(t, s.argo.workflows())
		s.completeJob(s.createJob("train"))
		s.argo.awaitOnlyWorkflow()
	})

	t.Run("an unknown node is reported", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.createTrainingPod("train-x", "node-7", map[string]string{"app": "not-labelled"})
		s.completeJob(s.createJob("train"))
		s.create(localVersion, remove(localNode), trainedBy("batch/v1", "Job", "train"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonNodeUnknown)
		assert.Equal(t, stalled, conditionStatuses(mv))
	})
}

// createTrainingPod creates a pod on a node.
func (s sandbox) createTrainingPod(name, node string, labels map[string]string) *corev1.Pod {
	s.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "train", Image: "train"}}},
	}
	require.NoError(s.t, s.client.Create(s.t.Context(), pod))
	return pod
}

func TestTrainingCompletedWhileOperatorIsDown(t *testing.T) {
	s := newSandbox(t, shared)
	op := startOperator(t, shared)
	job := s.createJob("train")
	s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
	s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
	op.stop()

	s.completeJob(job)
	startOperator(t, shared)

	s.argo.awaitOnlyWorkflow()
}

// The operator watches a kind as soon as its CRD is installed, and sends no
// requests for it before. A workload that is deleted before the watch begins has no event.
func TestTrainingKindInstalledLater(t *testing.T) {
	server := newAPIServer(t, modelkilnCRDs, argoCRDs())
	require.NoError(t, server.install(deployRBAC))
	s := newSandbox(t, server)
	s.createTemplate(contract.BuildTemplate)
	f := newFaults()
	f.hold(func(r request) bool { return r.path == "/apis/kubeflow.org/v1/pytorchjobs" })
	op := startOperator(t, server, withFaults(f))
	s.create(claimVersion, trainedBy("kubeflow.org/v1", "PyTorchJob", "train"))
	mv := s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
	assert.Contains(t, mv.Status.Message, "kind PyTorchJob")
	for _, r := range op.transport.all() {
		assert.NotContains(t, r.path, "pytorchjobs")
	}

	require.NoError(t, server.installCRDs("testdata/training"))
	s.awaitMessage("PyTorchJob train does not exist yet")
	training := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
		"metadata": map[string]any{"namespace": s.namespace, "name": "train"},
	}}
	f.awaitHeld(t, 1)
	deleted := training.DeepCopy()
	require.NoError(t, s.client.Create(t.Context(), deleted))
	s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
	s.awaitMessage("PyTorchJob train has not completed")
	require.NoError(t, s.client.Delete(t.Context(), deleted))
	f.resume()
	s.awaitMessage("PyTorchJob train does not exist yet")

	require.NoError(t, s.client.Create(t.Context(), training))
	s.awaitMessage("PyTorchJob train has not completed")
	training.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Succeeded", "status": "True"}}}
	require.NoError(t, s.client.Status().Update(t.Context(), training))
	s.argo.awaitOnlyWorkflow()
}

// Argo sets the condition Completed of a Workflow that failed.
func TestTrainingByWorkflow(t *testing.T) {
	s := newSandbox(t, shared)
	startOperator(t, shared, withConfig(func(c *config.Config) {
		c.TrainingKinds = []config.TrainingKind{{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"}}
	}))
	s.create(claimVersion, trainedBy("argoproj.io/v1alpha1", "Workflow", "train"))
	training := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": map[string]any{"namespace": s.namespace, "name": "train"},
		"spec":     map[string]any{},
		"status": map[string]any{
			"phase": "Failed", "message": "child failed",
			"conditions": []any{map[string]any{"type": "Completed", "status": "True"}},
		},
	}}
	require.NoError(t, s.client.Create(t.Context(), training))
	mv := s.awaitReason(resnet, v1alpha1.ReasonTrainingFailed)
	assert.Contains(t, mv.Status.Message, "Workflow train failed: Failed: child failed. Create it again")
}

// The configuration names a kind that the operator has no permission to read.
func TestTrainingKindForbidden(t *testing.T) {
	s := newSandbox(t, shared)
	startOperator(t, shared, withConfig(func(c *config.Config) {
		never, err := workload.NewExpression("false")
		require.NoError(t, err)
		c.TrainingKinds = []config.TrainingKind{{APIVersion: "apps/v1", Kind: "Deployment", Completed: never}}
	}))
	s.create(claimVersion, trainedBy("apps/v1", "Deployment", "train"))
	mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
	assert.Contains(t, mv.Status.Message, `cannot get resource "deployments"`)
}

func TestTrainingImmutable(t *testing.T) {
	s := newSandbox(t, shared)
	withTraining := s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
	withoutTraining := s.create(claimVersion, set("metadata.name", "resnet-2"))
	withoutNode := s.create(localVersion, set("metadata.name", "resnet-3"), remove(localNode), trainedBy("batch/v1", "Job", "train"))
	for name, tc := range map[string]struct {
		mv    *v1alpha1.ModelVersion
		patch string
		want  string
	}{
		"change":                       {withTraining, `[{"op":"replace","path":"/spec/trainedBy/name","value":"other"}]`, "trainedBy cannot be added or changed after creation"},
		"add":                          {withoutTraining, `[{"op":"add","path":"/spec/trainedBy","value":{"apiVersion":"batch/v1","kind":"Job","name":"train"}}]`, "trainedBy cannot be added or changed after creation"},
		"remove, without nodeName":     {withoutNode, `[{"op":"remove","path":"/spec/trainedBy"}]`, noNodeName},
		"remove, with another storage": {withTraining, `[{"op":"remove","path":"/spec/trainedBy"}]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.client.Patch(t.Context(), tc.mv.DeepCopy(), client.RawPatch("application/json-patch+json", []byte(tc.patch)), client.DryRunAll)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, apierrors.IsInvalid(err), err)
			require.ErrorContains(t, err, tc.want)
		})
	}
}
