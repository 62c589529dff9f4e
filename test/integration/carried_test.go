package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

const (
	carriedSpec = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {persistentVolumeClaim: {claimName: models}}\n"
	localSpec   = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {localStorage: {path: /models/resnet}}\n"
)

// allowVersions lets the scene's workloads make versions.
func (s scene) allowVersions() {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"`+v1alpha1.LabelVersionsFromWorkloads+`":"true"}}}`))
	require.NoError(s.t, s.client.Patch(s.t.Context(), namespace, patch))
}

// carryingJob is a Job that carries a version's spec, not made yet.
func (s scene) carryingJob(name, spec string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Annotations: map[string]string{v1alpha1.AnnotationModelVersion: spec}},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "train", Image: "train"}},
		}}},
	}
}

// carries makes such a Job.
func (s scene) carries(name, spec string) *batchv1.Job {
	s.t.Helper()
	job := s.carryingJob(name, spec)
	require.NoError(s.t, s.client.Create(s.t.Context(), job))
	return job
}

// carriedName is the name of a Job's version.
func carriedName(job *batchv1.Job) string { return "mv-" + job.Name + "-" + string(job.UID)[:5] }

// awaitVersion is a Job's version, once it is there and the Job says so.
func (s scene) awaitVersion(job *batchv1.Job) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, carriedName(job), mv)
		s.get(c, job.Name, job)
		assert.Equal(c, string(job.UID), job.Annotations[v1alpha1.AnnotationMadeVersion])
	}, deadline, tick)
	return mv
}

// awaitJobEvent waits for an event on a Job.
func (s scene) awaitJobEvent(reason, words string) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		var list eventsv1.EventList
		require.NoError(c, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
		assert.True(c, slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Kind == "Job" && e.Reason == reason && strings.Contains(e.Note, words)
		}), "no event %s", reason)
	}, deadline, tick)
}

// noVersions says that the scene has no version.
func (s scene) noVersions() {
	s.t.Helper()
	var list v1alpha1.ModelVersionList
	require.NoError(s.t, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
	assert.Empty(s.t, list.Items)
}

// awaitLookedAt waits until a Job that is made now has its version: the operator
// has seen what was there before.
func (s scene) awaitLookedAt() {
	s.t.Helper()
	elsewhere := newScene(s.t, shared)
	elsewhere.allowVersions()
	job := elsewhere.carries("last", carriedSpec)
	elsewhere.completes(job)
	elsewhere.awaitVersion(job)
}

func TestAWorkloadsVersionIsMadeOfTheSpecThatItCarries(t *testing.T) {
	startOperator(t, shared)

	t.Run("and is built, when it has completed", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.allowVersions()
		job := s.carries("train", carriedSpec)
		s.completes(job)
		mv := s.awaitVersion(job)
		assert.Equal(t, "train", mv.Spec.CreatedBy)
		assert.Equal(t, &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"}, mv.Spec.TrainedBy)
		s.awaitJobEvent(lifecycle.EventCreated, "Created ModelVersion "+mv.Name)
		s.buildSucceeds(s.argo.awaitOnlyWorkflow())
	})

	t.Run("and not when it failed", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.allowVersions()
		s.fails(s.carries("train", carriedSpec))
		s.awaitLookedAt()
		s.noVersions()
	})

	t.Run("and not again when a person has deleted it", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.allowVersions()
		job := s.carries("train", carriedSpec)
		s.completes(job)
		require.NoError(t, s.client.Delete(t.Context(), s.awaitVersion(job)))

		job.Labels = map[string]string{"changed": "true"}
		require.NoError(t, s.client.Update(t.Context(), job))
		s.awaitLookedAt()
		s.noVersions()
	})

	t.Run("and a second run gets a second one", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.allowVersions()
		for _, name := range []string{"nightly-1", "nightly-2"} {
			job := s.carries(name, carriedSpec)
			s.completes(job)
			s.argo.awaitAttempt(s.awaitVersion(job), 1)
		}
	})

	t.Run("and lies on the node where the training's pod ran", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.allowVersions()
		job := s.carries("train", localSpec)
		s.trainer("train-0", "node-7", map[string]string{v1alpha1.LabelTrainVersion: carriedName(job)})
		s.completes(job)
		s.awaitVersion(job)
		s.buildSucceeds(s.argo.awaitOnlyWorkflow())
		assert.Equal(t, "node-7", s.version(carriedName(job)).Status.NodeName)
	})

	t.Run("and only where the namespace allows it", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		job := s.carries("train", carriedSpec)
		s.completes(job)
		s.awaitJobEvent(lifecycle.EventNotAllowed, "kubectl label namespace "+s.namespace+" model.kubedl.io/versions-from-workloads=true")
		s.noVersions()
		s.allowVersions()
		s.awaitVersion(job)
	})

	t.Run("and a mistake in it shows before the training has ended", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.allowVersions()
		job := s.carries("train", strings.Replace(carriedSpec, "resnet", "ResNet", 1))
		s.awaitJobEvent(lifecycle.EventRefused, "modelName is the name of a Model")
		s.carries("other", "model: resnet")
		s.awaitJobEvent(lifecycle.EventRefused, "unknown field")

		s.get(t, job.Name, job)
		job.Annotations[v1alpha1.AnnotationModelVersion] = carriedSpec
		require.NoError(t, s.client.Update(t.Context(), job))
		s.completes(job)
		s.awaitVersion(job)
	})
}

func TestAWorkloadThatCompletedWhileTheOperatorWasAwayHasItsVersion(t *testing.T) {
	s := newScene(t, shared)
	s.allowVersions()
	job := s.carries("train", carriedSpec)
	s.completes(job)
	op := startOperator(t, shared)
	mv := s.awaitVersion(job)
	op.stop()
	require.NoError(t, s.client.Delete(t.Context(), mv))

	startOperator(t, shared)
	s.awaitLookedAt()
	s.noVersions()
}

func TestAWorkloadWhoseSpecIsWrongIsRefusedBeforeItTrains(t *testing.T) {
	startWithWebhook(t)
	awaitWorkloadsWebhook(t)
	for name, tt := range map[string]struct{ spec, want string }{
		"which the annotation shows":       {"model: resnet", "is not the spec of a ModelVersion"},
		"which the API server's rules say": {strings.Replace(carriedSpec, "resnet", "ResNet", 1), "modelName is the name of a Model"},
		"which the configuration forbids":  {strings.Replace(localSpec, "/models/resnet", "/etc", 1), "cannot be built"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, shared)
			s.allowVersions()
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				job := s.carryingJob("", tt.spec)
				job.GenerateName = "train-"
				assert.ErrorContains(c, s.client.Create(t.Context(), job), tt.want)
			}, deadline, tick)
			job := s.carries("train", carriedSpec)
			job.Annotations[v1alpha1.AnnotationModelVersion] = tt.spec
			require.ErrorContains(t, s.client.Update(t.Context(), job), tt.want)
			s.noVersions()
		})
	}
	t.Run("but not in a namespace that does not allow versions", func(t *testing.T) {
		s := newScene(t, shared)
		s.carries("train", "model: resnet")
		s.awaitJobEvent(lifecycle.EventNotAllowed, "kubectl label namespace")
	})
}

// awaitWorkloadsWebhook waits until the API server asks the operator about
// workloads.
func awaitWorkloadsWebhook(t *testing.T) {
	t.Helper()
	s := newScene(t, shared)
	s.allowVersions()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		job := s.carryingJob("", "model: resnet")
		job.GenerateName = "probe-"
		assert.ErrorContains(c, s.client.Create(t.Context(), job), "is not the spec of a ModelVersion")
	}, deadline, tick)
}

func TestAPodOfAWorkloadThatCarriesASpecGetsItsStorage(t *testing.T) {
	startWithWebhook(t)
	awaitWorkloadsWebhook(t)
	of := func(s scene, job *batchv1.Job) *corev1.Pod {
		pod := trainingPod(s.namespace, "")
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))}
		return pod
	}
	t.Run("and the name of the version that will be made", func(t *testing.T) {
		s := newScene(t, shared)
		s.allowVersions()
		job := s.carries("train", carriedSpec)
		pod := of(s, job)
		require.NoError(t, s.client.Create(t.Context(), pod))
		assert.Equal(t, carriedName(job), pod.Labels[v1alpha1.LabelTrainVersion])
		assert.True(t, slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "models"
		}))
	})
	t.Run("unless the namespace does not allow versions", func(t *testing.T) {
		s := newScene(t, shared)
		pod := of(s, s.carries("train", carriedSpec))
		assert.ErrorContains(t, s.client.Create(t.Context(), pod), "kubectl label namespace")
	})
}
