package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

const (
	claimTemplate = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {persistentVolumeClaim: {claimName: models}}\n"
	localTemplate = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {localStorage: {path: /models/resnet}}\n"
)

// newTemplateSandbox returns a sandbox in whose namespace workloads may create
// ModelVersions.
func newTemplateSandbox(t *testing.T) sandbox {
	t.Helper()
	s := newSandbox(t, shared)
	s.allowVersionsFromWorkloads()
	return s
}

func (s sandbox) allowVersionsFromWorkloads() {
	s.t.Helper()
	s.labelNamespace(v1alpha1.LabelVersionsFromWorkloads, "true")
}

// newJobWithTemplate returns a Job with the spec of a ModelVersion in its
// annotation.
func (s sandbox) newJobWithTemplate(name, spec string) *batchv1.Job {
	job := s.newJob(name)
	job.Annotations = map[string]string{v1alpha1.AnnotationModelVersion: spec}
	return job
}

func (s sandbox) createJobWithTemplate(name, spec string) *batchv1.Job {
	s.t.Helper()
	job := s.newJobWithTemplate(name, spec)
	require.NoError(s.t, s.client.Create(s.t.Context(), job))
	return job
}

// templateVersionName returns the name of the ModelVersion that the operator
// creates for a Job.
func templateVersionName(job *batchv1.Job) string {
	return "mv-" + job.Name + "-" + string(job.UID)[:5]
}

// awaitVersion returns a Job's ModelVersion once it exists and is recorded on
// the Job.
func (s sandbox) awaitVersion(job *batchv1.Job) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, templateVersionName(job), mv)
		s.get(c, job.Name, job)
		assert.Equal(c, string(job.UID), job.Annotations[v1alpha1.AnnotationMadeVersion])
	}, deadline, tick)
	return mv
}

func (s sandbox) assertNoVersions() {
	s.t.Helper()
	var list v1alpha1.ModelVersionList
	require.NoError(s.t, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
	assert.Empty(s.t, list.Items)
}

// drainWorkloadQueue waits until the operator has reconciled the workloads that
// changed before this call: until a new Job in another namespace has its
// ModelVersion.
func (s sandbox) drainWorkloadQueue() {
	s.t.Helper()
	elsewhere := newTemplateSandbox(s.t)
	job := elsewhere.createJobWithTemplate("last", claimTemplate)
	elsewhere.completeJob(job)
	elsewhere.awaitVersion(job)
}

func TestWorkloadTemplate(t *testing.T) {
	startOperator(t, shared)

	t.Run("a completed Job creates a ModelVersion, which is built", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		job := s.createJobWithTemplate("train", claimTemplate)
		s.completeJob(job)
		mv := s.awaitVersion(job)
		assert.Equal(t, "train", mv.Spec.CreatedBy)
		assert.Equal(t, &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"}, mv.Spec.TrainedBy)
		s.awaitEvent("Job", lifecycle.EventCreated, "Created ModelVersion "+mv.Name)
		s.completeBuild(s.argo.awaitOnlyWorkflow())
	})

	t.Run("a failed Job creates none", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		s.failJob(s.createJobWithTemplate("train", claimTemplate))
		s.drainWorkloadQueue()
		s.assertNoVersions()
	})

	t.Run("a deleted ModelVersion is not created again", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		job := s.createJobWithTemplate("train", claimTemplate)
		s.completeJob(job)
		require.NoError(t, s.client.Delete(t.Context(), s.awaitVersion(job)))

		job.Labels = map[string]string{"changed": "true"}
		require.NoError(t, s.client.Update(t.Context(), job))
		s.drainWorkloadQueue()
		s.assertNoVersions()
	})

	t.Run("each Job creates its own", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		for _, name := range []string{"nightly-1", "nightly-2"} {
			job := s.createJobWithTemplate(name, claimTemplate)
			s.completeJob(job)
			s.argo.awaitAttempt(s.awaitVersion(job), 1)
		}
	})

	t.Run("the build runs on the node of the training's pod", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		job := s.createJobWithTemplate("train", localTemplate)
		s.createTrainingPod("train-0", "node-7", map[string]string{v1alpha1.LabelTrainVersion: templateVersionName(job)})
		s.completeJob(job)
		s.awaitVersion(job)
		s.completeBuild(s.argo.awaitOnlyWorkflow())
		assert.Equal(t, "node-7", s.version(templateVersionName(job)).Status.NodeName)
	})

	t.Run("the build does not wait for a Job that is deleted when it has completed", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		job := s.createJobWithTemplate("train", localTemplate+"build: {workflowTemplate: "+s.namespace+"}\n")
		pod := s.createTrainingPod("train-0", "node-8", map[string]string{v1alpha1.LabelTrainVersion: templateVersionName(job)})
		s.completeJob(job)
		mv := s.awaitReason(s.awaitVersion(job).Name, v1alpha1.ReasonTemplateMissing)
		require.NoError(t, s.client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
		require.NoError(t, s.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
		s.createTemplate(s.namespace)
		s.completeBuild(s.argo.awaitOnlyWorkflow())
		assert.Equal(t, "node-8", s.version(mv.Name).Status.NodeName)
	})

	t.Run("the namespace must allow it", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		job := s.createJobWithTemplate("train", claimTemplate)
		s.completeJob(job)
		s.awaitEvent("Job", lifecycle.EventNotAllowed, "kubectl label namespace "+s.namespace+" model.kubedl.io/versions-from-workloads=true")
		s.assertNoVersions()
		s.allowVersionsFromWorkloads()
		s.awaitVersion(job)
	})

	t.Run("an invalid spec is reported before the Job completes", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		job := s.createJobWithTemplate("train", strings.Replace(claimTemplate, "resnet", "ResNet", 1))
		s.awaitEvent("Job", lifecycle.EventRefused, "modelName is the name of a Model")
		s.createJobWithTemplate("other", "model: resnet")
		s.awaitEvent("Job", lifecycle.EventRefused, "unknown field")

		s.get(t, job.Name, job)
		job.Annotations[v1alpha1.AnnotationModelVersion] = claimTemplate
		require.NoError(t, s.client.Update(t.Context(), job))
		s.completeJob(job)
		s.awaitVersion(job)
	})
}

func TestWorkloadTemplateOperatorRestart(t *testing.T) {
	s := newTemplateSandbox(t)
	job := s.createJobWithTemplate("train", claimTemplate)
	s.completeJob(job)
	op := startOperator(t, shared)
	mv := s.awaitVersion(job)
	op.stop()
	require.NoError(t, s.client.Delete(t.Context(), mv))

	startOperator(t, shared)
	job.Labels = map[string]string{"changed": "true"}
	require.NoError(t, s.client.Update(t.Context(), job))
	s.drainWorkloadQueue()
	s.assertNoVersions()
}

func TestWebhookWorkloadTemplates(t *testing.T) {
	startWithWebhook(t)
	awaitWorkloadsWebhook(t)
	for name, tt := range map[string]struct{ spec, want string }{
		"the annotation is not a spec":         {"model: resnet", "is not the spec of a ModelVersion"},
		"the API server rejects the spec":      {strings.Replace(claimTemplate, "resnet", "ResNet", 1), "modelName is the name of a Model"},
		"the configuration forbids the source": {strings.Replace(localTemplate, "/models/resnet", "/etc", 1), "cannot be built"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTemplateSandbox(t)
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				job := s.newJobWithTemplate("", tt.spec)
				job.GenerateName = "train-"
				assert.ErrorContains(c, s.client.Create(t.Context(), job), tt.want)
			}, deadline, tick)
			job := s.createJobWithTemplate("train", claimTemplate)
			job.Annotations[v1alpha1.AnnotationModelVersion] = tt.spec
			require.ErrorContains(t, s.client.Update(t.Context(), job), tt.want)
			s.assertNoVersions()
		})
	}
	t.Run("a Job whose pods lack the label gets a warning", func(t *testing.T) {
		s := newTemplateSandbox(t)
		warned, warnings := clientWithWarnings(t)
		labelled := s.newJobWithTemplate("labelled", claimTemplate)
		labelled.Spec.Template.Labels = map[string]string{v1alpha1.LabelTrainVersion: ""}
		require.NoError(t, warned.Create(t.Context(), labelled))
		assert.Empty(t, warnings.all)

		job := s.newJobWithTemplate("train", claimTemplate)
		job.Labels, job.Spec.Template.Labels = map[string]string{v1alpha1.LabelTrainVersion: ""}, nil
		require.NoError(t, warned.Create(t.Context(), job))
		require.Len(t, warnings.all, 1)
		assert.Contains(t, warnings.all[0], "no pod template of Job has the label model.kubedl.io/train-version")
		assert.LessOrEqual(t, len(warnings.all[0]), 256, "the API server cuts longer ones")
	})
	t.Run("a namespace that does not allow ModelVersions is not checked", func(t *testing.T) {
		s := newSandbox(t, shared)
		s.createJobWithTemplate("train", "model: resnet")
		s.awaitEvent("Job", lifecycle.EventNotAllowed, "kubectl label namespace")
	})
}

// awaitWorkloadsWebhook waits until the API server calls the operator for
// workloads.
func awaitWorkloadsWebhook(t *testing.T) {
	t.Helper()
	s := newTemplateSandbox(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		job := s.newJobWithTemplate("", "model: resnet")
		job.GenerateName = "probe-"
		assert.ErrorContains(c, s.client.Create(t.Context(), job), "is not the spec of a ModelVersion")
	}, deadline, tick)
}

func TestWebhookTrainingPodsOfWorkloads(t *testing.T) {
	startWithWebhook(t)
	awaitWorkloadsWebhook(t)
	newPod := func(s sandbox, job *batchv1.Job) *corev1.Pod {
		pod := trainingPod(s.namespace, "")
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))}
		return pod
	}
	t.Run("get the storage and the name of the future ModelVersion", func(t *testing.T) {
		s := newTemplateSandbox(t)
		job := s.createJobWithTemplate("train", claimTemplate)
		pod := newPod(s, job)
		require.NoError(t, s.client.Create(t.Context(), pod))
		assert.Equal(t, templateVersionName(job), pod.Labels[v1alpha1.LabelTrainVersion])
		assert.True(t, slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "models"
		}))
	})
	t.Run("are rejected if the namespace does not allow ModelVersions", func(t *testing.T) {
		s := newSandbox(t, shared)
		pod := newPod(s, s.createJobWithTemplate("train", claimTemplate))
		assert.ErrorContains(t, s.client.Create(t.Context(), pod), "kubectl label namespace")
	})
}
