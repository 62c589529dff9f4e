package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/golden"
)

// observation is what an input file in testdata/status holds: what a pass has
// read.
type observation struct {
	Version          v1alpha1.ModelVersion `json:"version"`
	Workflows        []wfv1.Workflow       `json:"workflows,omitempty"`
	TemplateMissing  bool                  `json:"templateMissing,omitempty"`
	TemplateMarked   bool                  `json:"templateMarked,omitempty"`
	ModelTerminating bool                  `json:"modelTerminating,omitempty"`
	MountFailure     string                `json:"mountFailure,omitempty"`
	// Training is the workload that the version waits for.
	Training            map[string]any `json:"training,omitempty"`
	TrainingKindMissing bool           `json:"trainingKindMissing,omitempty"`
	TrainingPods        []corev1.Pod   `json:"trainingPods,omitempty"`
	Now                 metav1.Time    `json:"now,omitempty"`
}

func (o *observation) observed() lifecycle.Observed {
	observed := lifecycle.Observed{
		Version:          &o.Version,
		TemplateFound:    !o.TemplateMissing,
		TemplateMarked:   o.TemplateMarked,
		ModelTerminating: o.ModelTerminating,
		Now:              o.Now.Time,
	}
	if o.Training != nil {
		observed.Training = &unstructured.Unstructured{Object: o.Training}
	}
	observed.TrainingKindMissing, observed.TrainingPods = o.TrainingKindMissing, o.TrainingPods
	for i := range o.Workflows {
		observed.Workflows = append(observed.Workflows, &o.Workflows[i])
	}
	if o.MountFailure != "" {
		observed.MountFailure = &lifecycle.MountFailure{WorkflowUID: string(o.Workflows[0].UID), Messages: []string{o.MountFailure}}
	}
	return observed
}

// step is what an output file in testdata/status holds: what the pass does,
// and the status that is true then. Times of conditions that change now are
// null.
type step struct {
	Create    *attempt                    `json:"create,omitempty"`
	Terminate string                      `json:"terminate,omitempty"`
	Again     string                      `json:"again,omitempty"`
	Delete    []string                    `json:"delete,omitempty"`
	Status    v1alpha1.ModelVersionStatus `json:"status"`
}

type attempt struct {
	Name     string `json:"name"`
	Image    string `json:"image"`
	Restarts string `json:"restarts"`
	Volume   string `json:"volume,omitempty"`
}

func stepOf(s lifecycle.Step) step {
	result := step{Status: s.Status}
	if s.Create != nil {
		result.Create = &attempt{Name: s.Create.Name, Image: s.Status.Image, Restarts: s.Create.Annotations["model.kubedl.io/restarts"]}
		if s.Volume != nil {
			result.Create.Volume = s.Volume.Claim.Name
		}
	}
	if s.Terminate != nil {
		result.Terminate = s.Terminate.Name
	}
	for _, wf := range s.Delete {
		result.Delete = append(result.Delete, wf.Name)
	}
	if s.RequeueAfter != 0 {
		result.Again = s.RequeueAfter.String()
	}
	return result
}

var options = config.Default().Options()

// nextStep selects the Workflow that the ModelVersion follows, as the reconciler
// does, and decides.
func nextStep(o lifecycle.Observed, opts workflow.Options) lifecycle.Step {
	o.Followed = lifecycle.SelectWorkflow(o.Version, o.Workflows, opts)
	return lifecycle.NextStep(o, opts)
}

// Each observation in testdata/status leads to the step beside it. Together
// they walk a version's life.
func TestWhatIsObservedLeadsToAStep(t *testing.T) {
	for name, file := range golden.Cases(t, "status", ".observed.yaml") {
		t.Run(name, func(t *testing.T) {
			var o observation
			golden.ReadYAML(t, file, &o)
			before := o.Version.DeepCopy()

			got := nextStep(o.observed(), options)
			golden.AssertYAML(t, strings.Replace(file, ".observed.", ".step.", 1), stepOf(got))
			assert.Equal(t, before, &o.Version, "what was observed stays as it is")
		})
	}
}

// Whatever happens, tools that know kstatus alone (kubectl wait, Flux) can
// tell what a version's state is.
func TestEveryStatusIsLegibleToKstatus(t *testing.T) {
	for name, file := range golden.Cases(t, "status", ".observed.yaml") {
		// What KubeDL has ended stays as it is, without conditions: the goldens
		// hold it.
		if isKubeDLs(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var o observation
			golden.ReadYAML(t, file, &o)
			mv := after(&o.Version, nextStep(o.observed(), options))

			assert.Contains(t, []string{"Ready", "Ready Reconciling", "Ready Stalled"}, conditionTypes(mv.Status.Conditions))
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
			if conditionTypes(mv.Status.Conditions) == "Ready Reconciling" {
				want = status.InProgressStatus // A failed version that waits to be tried again.
			}
			assert.Equal(t, want, kstatus(t, mv))
		})
	}
}

// A pass that finds the world as the last one left it has nothing to do, and
// nothing to write.
func TestTheSameWorldLeadsToTheSameStatus(t *testing.T) {
	for name, file := range golden.Cases(t, "status", ".observed.yaml") {
		t.Run(name, func(t *testing.T) {
			var o observation
			golden.ReadYAML(t, file, &o)
			first := nextStep(o.observed(), options)
			if first.Create != nil {
				created := first.Create.DeepCopy()
				created.UID, created.CreationTimestamp = "the-api-servers", metav1.NewTime(now)
				o.Workflows = append(o.Workflows, *created)
				first = nextStep(o.observed(), options)
				require.Nil(t, first.Create, "one attempt is enough")
			}
			o.Version = *after(&o.Version, first)

			second := nextStep(o.observed(), options)
			assert.Nil(t, second.Create)
			assert.Equal(t, o.Version.Status, second.Status)
		})
	}
}

// A message is one line, which begins and ends like a message.
func TestEveryMessageIsASentenceInOneLine(t *testing.T) {
	for name, file := range golden.Cases(t, "status", ".step.yaml") {
		// What KubeDL has ended stays as it is, with its full stop: the goldens
		// hold it.
		if isKubeDLs(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var s step
			golden.ReadYAML(t, file, &s)
			message := s.Status.Message
			assert.NotContains(t, message, "\n")
			assert.NotContains(t, message, "..")
			assert.Equal(t, strings.TrimSpace(message), message)
			assert.False(t, strings.HasSuffix(message, "."), message)
		})
	}
}

// What KubeDL has ended is not touched at all.
func TestWhatKubeDLHasEndedStaysAsItIs(t *testing.T) {
	for _, name := range []string{"kubedl-succeeded", "kubedl-failed"} {
		t.Run(name, func(t *testing.T) {
			var o observation
			golden.ReadYAML(t, "testdata/status/"+name+".observed.yaml", &o)
			got := nextStep(o.observed(), options)
			assert.Equal(t, lifecycle.Step{Status: o.Version.Status}, got)
		})
	}
}

func isKubeDLs(name string) bool {
	return name == "kubedl-succeeded" || name == "kubedl-failed"
}

// now is when conditions change in tests.
var now = time.Date(2026, time.March, 1, 13, 0, 0, 0, time.UTC)

// after is the version once a step's status is written.
func after(mv *v1alpha1.ModelVersion, s lifecycle.Step) *v1alpha1.ModelVersion {
	mv = mv.DeepCopy()
	mv.Status = *s.Status.DeepCopy()
	for i := range mv.Status.Conditions {
		if c := &mv.Status.Conditions[i]; c.LastTransitionTime.IsZero() {
			c.LastTransitionTime = metav1.NewTime(now)
		}
	}
	return mv
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
