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
)

// trainedBy has a version wait for a workload.
func trainedBy(apiVersion, kind, name string) change {
	return set("spec.trainedBy", map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name})
}

// job makes a Job.
func (s scene) job(name string) *batchv1.Job {
	s.t.Helper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "train", Image: "train"}},
		}}},
	}
	require.NoError(s.t, s.client.Create(s.t.Context(), job))
	return job
}

// ends has a Job end, as its controller would.
func (s scene) ends(job *batchv1.Job, conditions ...batchv1.JobCondition) {
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

func (s scene) completes(job *batchv1.Job) {
	s.t.Helper()
	s.ends(job, batchv1.JobCondition{Type: batchv1.JobSuccessCriteriaMet}, batchv1.JobCondition{Type: batchv1.JobComplete})
}

func (s scene) fails(job *batchv1.Job) {
	s.t.Helper()
	s.ends(job, batchv1.JobCondition{Type: batchv1.JobFailureTarget}, batchv1.JobCondition{Type: batchv1.JobFailed, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit"})
}

func TestAVersionWaitsForTheWorkloadThatWritesIt(t *testing.T) {
	startOperator(t, shared, withEFS())

	t.Run("and is built when a Job has completed", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(claimVersion, trainedBy("batch/v1", "Job", "train"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		assert.Equal(t, waiting, states(mv))
		assert.Contains(t, mv.Status.Message, "There is no Job train yet")

		job := s.job("train")
		s.awaitWords(resnet, "Job train has not completed")
		assert.Empty(t, s.argo.workflows())
		s.completes(job)
		s.buildSucceeds(s.argo.awaitOnlyWorkflow())
	})

	t.Run("and fails with it, and waits for it again when it is run again", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		job := s.job("train")
		s.apply(claimVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)

		s.fails(job)
		mv := s.awaitReason(resnet, v1alpha1.ReasonTrainingFailed)
		assert.Equal(t, stalled, states(mv))
		assert.Equal(t, v1alpha1.ImageBuildFailed, mv.Status.ImageBuildPhase)
		assert.Contains(t, mv.Status.Message, "Job train failed: BackoffLimitExceeded: Job has reached the specified backoff limit")
		s.awaitEvent(v1alpha1.ReasonTrainingFailed)

		require.NoError(t, s.client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		again := s.job("train")
		s.completes(again)
		s.buildSucceeds(s.argo.awaitOnlyWorkflow())
	})

	t.Run("and is built at once when it is told not to wait", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.job("train")
		s.apply(claimVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)

		patch := client.RawPatch("application/json-patch+json", []byte(`[{"op":"remove","path":"/spec/trainedBy"}]`))
		require.NoError(t, s.client.Patch(t.Context(), s.version(resnet), patch))
		s.buildSucceeds(s.argo.awaitOnlyWorkflow())
	})

	t.Run("and not for one of another name, namespace or kind", func(t *testing.T) {
		t.Parallel()
		s, elsewhere := newScene(t, shared), newScene(t, shared)
		s.apply(claimVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		s.completes(s.job("other"))
		s.completes(elsewhere.job("train"))
		s.apply(claimVersion, set("metadata.name", "resnet-2"), trainedBy("batch/v1", "Job", "other"))
		s.argo.awaitAttempt(s.version("resnet-2"), 1)
		assert.Len(t, s.argo.workflows(), 1)
		assert.Equal(t, v1alpha1.ReasonWaitingForTraining, readyReason(s.version(resnet)))
	})

	t.Run("and says so when the operator does not know its kind", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(claimVersion, trainedBy("example.com/v1", "TrainingRun", "train"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTrainingKindUnknown)
		assert.Contains(t, mv.Status.Message, "trainingKinds in the operator's configuration")
	})

	t.Run("and lies on the node where the training's pod ran", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion, remove(localNode), trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		job := s.job("train")
		pod := s.trainer("train-x", "node-7", map[string]string{v1alpha1.LabelTrainVersion: resnet})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, "node-7", s.version(resnet).Status.NodeName)
		}, deadline, tick)

		require.NoError(t, s.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
		s.completes(job)
		wf := s.argo.awaitOnlyWorkflow()
		assert.Equal(t, "node-7", wf.Spec.Arguments.GetParameterByName(contract.ParamNodeName).Value.String())
		s.buildSucceeds(wf)
	})

	t.Run("with the claim that its training writes to", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(efsVersion, trainedBy("batch/v1", "Job", "train"))
		s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
		claim := s.claim(mv)
		assert.True(t, metav1.IsControlledBy(claim, mv))
		assert.Empty(t, s.argo.workflows())
		s.completes(s.job("train"))
		s.argo.awaitOnlyWorkflow()
	})

	t.Run("and says so when nothing tells on which node its files lie", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.trainer("train-x", "node-7", map[string]string{"app": "not-labelled"})
		s.completes(s.job("train"))
		s.apply(localVersion, remove(localNode), trainedBy("batch/v1", "Job", "train"))
		mv := s.awaitReason(resnet, v1alpha1.ReasonNodeUnknown)
		assert.Equal(t, stalled, states(mv))
	})
}

// awaitWords waits until a version's message holds these words.
func (s scene) awaitWords(name, words string) {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		assert.Contains(c, mv.Status.Message, words)
	}, deadline, tick)
}

// trainer makes a pod on a node.
func (s scene) trainer(name, node string, labels map[string]string) *corev1.Pod {
	s.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "train", Image: "train"}}},
	}
	require.NoError(s.t, s.client.Create(s.t.Context(), pod))
	return pod
}

func TestAVersionThatWaitsOutlivesTheOperator(t *testing.T) {
	s := newScene(t, shared)
	op := startOperator(t, shared)
	job := s.job("train")
	s.apply(claimVersion, trainedBy("batch/v1", "Job", "train"))
	s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
	op.stop()

	s.completes(job)
	startOperator(t, shared)

	s.argo.awaitOnlyWorkflow()
}

// A kind of training that is installed later is picked up, and one that is not
// there costs nothing.
func TestAVersionWaitsForAKindThatIsInstalledLater(t *testing.T) {
	server, err := startAPIServer(modelkilnCRDs, argoCRDs())
	require.NoError(t, err)
	t.Cleanup(server.stop)
	require.NoError(t, server.install(deployRBAC))
	s := newScene(t, server)
	s.template("modelkiln-build")
	op := startOperator(t, server)
	s.apply(claimVersion, trainedBy("kubeflow.org/v1", "PyTorchJob", "train"))
	mv := s.awaitReason(resnet, v1alpha1.ReasonWaitingForTraining)
	assert.Contains(t, mv.Status.Message, "The cluster does not have the kind PyTorchJob of kubeflow.org/v1 yet")
	for _, request := range op.wire.inNamespace(s.namespace) {
		assert.NotContains(t, request.path, "pytorchjobs")
	}

	require.NoError(t, server.installCRDs("testdata/training"))
	s.awaitWords(resnet, "There is no PyTorchJob train yet")
	training := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
		"metadata": map[string]any{"namespace": s.namespace, "name": "train"},
	}}
	require.NoError(t, s.client.Create(t.Context(), training))
	s.awaitWords(resnet, "PyTorchJob train has not completed")
	training.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Succeeded", "status": "True"}}}
	require.NoError(t, s.client.Status().Update(t.Context(), training))
	s.argo.awaitOnlyWorkflow()
}

// What the platform team adds without a right to read it is said, and mended by
// that right.
func TestAKindThatTheOperatorMayNotReadIsSaidInWords(t *testing.T) {
	s := newScene(t, shared)
	startOperator(t, shared, withConfig(func(c *config.Config) {
		c.TrainingKinds = []config.TrainingKind{{APIVersion: "apps/v1", Kind: "Deployment"}}
	}))
	s.apply(claimVersion, trainedBy("apps/v1", "Deployment", "train"))
	mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
	assert.Contains(t, mv.Status.Message, `cannot get resource "deployments"`)
}

func TestWhatAVersionWaitsForCanBeTakenAwayAndNotBeChanged(t *testing.T) {
	s := newScene(t, shared)
	waits := s.apply(claimVersion, trainedBy("batch/v1", "Job", "train"))
	does := s.apply(claimVersion, set("metadata.name", "resnet-2"))
	needs := s.apply(localVersion, set("metadata.name", "resnet-3"), remove(localNode), trainedBy("batch/v1", "Job", "train"))
	for name, tc := range map[string]struct {
		mv    *v1alpha1.ModelVersion
		patch string
		want  string
	}{
		"to wait for another":              {waits, `[{"op":"replace","path":"/spec/trainedBy/name","value":"other"}]`, "trainedBy cannot be added or changed after creation"},
		"to wait later":                    {does, `[{"op":"add","path":"/spec/trainedBy","value":{"apiVersion":"batch/v1","kind":"Job","name":"train"}}]`, "trainedBy cannot be added or changed after creation"},
		"not to wait, with no node":        {needs, `[{"op":"remove","path":"/spec/trainedBy"}]`, noNodeName},
		"not to wait, which is what is so": {waits, `[{"op":"remove","path":"/spec/trainedBy"}]`, ""},
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
