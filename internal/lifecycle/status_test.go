package lifecycle_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

func TestNextStep(t *testing.T) {
	forEachCase(t, func(t *testing.T, s *scenario, want wantStep) {
		before := s.mv().DeepCopy()
		step := s.next()

		got := wantStep{unchanged: want.unchanged, requeueAfter: step.RequeueAfter, volume: step.Volume != nil, nodeName: want.nodeName}
		if step.Create != nil {
			got.create, got.image = step.Create.Name, step.Status.Image
			got.restarts = step.Create.Annotations["model.kubedl.io/restarts"]
		}
		if step.Terminate != nil {
			got.terminate = step.Terminate.Name
		}
		if want.unchanged {
			assert.Equal(t, before.Status, step.Status)
		} else {
			got.phase, got.message = step.Status.ImageBuildPhase, want.message
			got.reason = step.Status.Conditions[0].Reason
			assert.Contains(t, step.Status.Message, want.message)
		}
		assert.Equal(t, want, got)
		if want.nodeName != "" {
			assert.Equal(t, want.nodeName, step.Status.NodeName)
		}
		assert.Equal(t, before, s.mv(), "the observed ModelVersion is not changed")
	})
}

// Every status gives the right result in kstatus, which tools such as Flux use.
func TestNextStepKstatus(t *testing.T) {
	forEachCase(t, func(t *testing.T, s *scenario, _ wantStep) {
		if s.isFinishedByKubeDL() {
			return // KubeDL's status has no conditions and is not changed (TestNextStep).
		}
		s.write(s.next().Status)
		mv := s.mv()
		types := conditionTypes(mv.Status.Conditions)
		assert.Contains(t, []string{"Ready", "Ready Reconciling", "Ready Stalled"}, types)
		for _, c := range mv.Status.Conditions {
			assert.Equal(t, mv.Generation, c.ObservedGeneration)
			assert.Equal(t, mv.Status.Message, c.Message)
			assert.NotEmpty(t, c.Reason)
			if c.Type != v1alpha1.ConditionReady {
				assert.Equal(t, metav1.ConditionTrue, c.Status, c.Type)
			}
		}
		want := map[v1alpha1.ImageBuildPhase]status.Status{
			v1alpha1.ImageBuilding:       status.InProgressStatus,
			v1alpha1.ImageBuildFailed:    status.FailedStatus,
			v1alpha1.ImageBuildSucceeded: status.CurrentStatus,
		}[mv.Status.ImageBuildPhase]
		if types == "Ready Reconciling" {
			want = status.InProgressStatus // A failed ModelVersion that waits for its next attempt.
		}
		assert.Equal(t, want, kstatus(t, mv))
	})
}

func TestNextStepIsIdempotent(t *testing.T) {
	forEachCase(t, func(t *testing.T, s *scenario, _ wantStep) {
		s.pass()
		second := s.next()
		assert.Nil(t, second.Create, "the second pass must not create another attempt")
		assert.Equal(t, s.mv().Status, second.Status)
	})
}

func TestNextStepMessageFormat(t *testing.T) {
	forEachCase(t, func(t *testing.T, s *scenario, _ wantStep) {
		if s.isFinishedByKubeDL() {
			return // KubeDL's message is not changed (TestNextStep).
		}
		message := s.next().Status.Message
		assert.NotContains(t, message, "\n")
		assert.NotContains(t, message, "..")
		assert.Equal(t, strings.TrimSpace(message), message)
		assert.False(t, strings.HasSuffix(message, "."), message)
	})
}

func TestNextStepStatusWhenBuilt(t *testing.T) {
	s := newScenario(t)
	s.succeeded()
	got := s.mv().Status
	assert.Equal(t, builders.Digest, got.Digest)
	assert.Equal(t, "4f53cda18c2b", got.ShortDigest)
	assert.Equal(t, []int64{7, 52428800, 41943040}, []int64{got.Files, got.SizeBytes, got.ImageSizeBytes})
	assert.Equal(t, "kind-control-plane", got.NodeName)
	assert.EqualValues(t, 1, got.Attempts)
	require.NotNil(t, got.StartTime)
	require.NotNil(t, got.FinishTime)
	assert.Equal(t, "Succeeded", got.Workflow.Phase)
}

func TestNextStepRetryClearsFailure(t *testing.T) {
	s := newScenario(t)
	s.failed()
	require.NotNil(t, s.mv().Status.FinishTime)
	s.update(retrying(runningStep("build")))
	s.pass()
	assert.Nil(t, s.mv().Status.FinishTime)
	assert.Equal(t, "Ready Reconciling", conditionTypes(s.mv().Status.Conditions))
}

// TestNextStepFinishTimeWithoutWorkflow shows that a failure without an attempt has
// a time too. It is zero until the status is written.
func TestNextStepFinishTimeWithoutWorkflow(t *testing.T) {
	s := newScenario(t)
	s.trainedByJob(training("Failed", "", ""))
	s.pass()
	assert.Equal(t, &metav1.Time{}, s.mv().Status.FinishTime)

	written := metav1.NewTime(builders.Epoch)
	s.mv().Status.FinishTime = &written
	s.pass()
	assert.Equal(t, &written, s.mv().Status.FinishTime, "not written again")

	s.trainedByJob(runs)
	s.pass()
	assert.Nil(t, s.mv().Status.FinishTime)
}

func TestFollowArgoURL(t *testing.T) {
	s := newScenario(t)
	wf := s.pass()
	opts := options
	opts.ArgoURL = "https://argo.example.com"
	assert.Equal(t, "https://argo.example.com/workflows/default/mv-3-1c072-1", lifecycle.Follow(s.observed, wf, opts).Workflow.URL)
}

func TestNextStepCreatesVolumeBeforeTraining(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Storage = v1alpha1.Storage{AWSEfs: &v1alpha1.AWSEfs{VolumeHandle: "fs-12345678"}}
	s.trainedByJob(runs)
	opts := options
	opts.EFS.Allowed = []string{"fs-12345678"}
	step := nextStep(s.observed, opts)
	assert.Equal(t, v1alpha1.ReasonWaitingForTraining, step.Status.Conditions[0].Reason)
	require.NotNil(t, step.Volume)
	assert.Equal(t, workflow.VolumeName(s.mv()), step.Volume.Claim.Name)
}

// The golden files are the input for the tests of Argo CD's health script in
// test/argo.
func TestNextStepStatusForArgoCD(t *testing.T) {
	for file, name := range map[string]string{
		"ready":             "succeeded",
		"building":          "running build",
		"waiting":           "template missing",
		"failed":            "failed in build",
		"failed-and-queued": "rebuild requested, template missing",
		"kubedl-succeeded":  "built by KubeDL",
		"kubedl-failed":     "failed under KubeDL",
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			require.Contains(t, nextStepCases, name)
			nextStepCases[name].given(s)
			s.pass()
			golden.AssertYAML(t, "testdata/modelversions/"+file+".yaml", s.mv())
		})
	}
}

func conditionTypes(conditions []metav1.Condition) string {
	var list []string
	for _, c := range conditions {
		list = append(list, c.Type)
	}
	return strings.Join(list, " ")
}

func kstatus(t *testing.T, mv *v1alpha1.ModelVersion) status.Status {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(mv)
	require.NoError(t, err)
	result, err := status.Compute(&unstructured.Unstructured{Object: object})
	require.NoError(t, err)
	return result.Status
}

func TestStatusCreatedByUser(t *testing.T) {
	for name, tt := range map[string]struct{ annotation, status, want string }{
		"copied":              {"ann@example.com", "", "ann@example.com"},
		"copied once":         {"bob", "ann", "ann"},
		"kept when removed":   {"", "ann", "ann"},
		"unknown":             {"", "", ""},
		"cleaned and bounded": {"\x1b[2Jann\n" + strings.Repeat("a", 300), "", "[2Jann " + strings.Repeat("a", 248) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("mv-3", "team-a").Status(v1alpha1.ModelVersionStatus{CreatedByUser: tt.status}).Obj()
			mv.Annotations = map[string]string{v1alpha1.AnnotationCreatedByUser: tt.annotation}
			got := lifecycle.NextStep(lifecycle.Observed{Version: mv}, workflow.Options{}).Status.CreatedByUser
			assert.Equal(t, tt.want, got)
			assert.LessOrEqual(t, len([]rune(got)), 256)
		})
	}
}

// The API server accepts characters in names that control terminals which decode UTF-8,
// or that reverse the direction of writing.
func TestStatusHasNoControlCharacters(t *testing.T) {
	for name, change := range map[string]func(*scenario){
		"a directory that is missing": func(s *scenario) {
			s.mv().Spec.Storage.LocalStorage.Path = "/models/\u009b2J\u202e"
			pendingPod("ContainerCreating")(s)
			s.missesDirectory()
		},
		"a directory that is forbidden": func(s *scenario) { s.mv().Spec.Storage.LocalStorage.Path = "/etc/\u009b2J\u202e" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			change(s)
			s.pass()
			got := s.mv().Status
			assert.Contains(t, got.Message, "2J")
			assert.Equal(t, text.Printable(got.Message), got.Message)
			for _, condition := range got.Conditions {
				assert.Equal(t, got.Message, condition.Message)
			}
		})
	}
}
