package lifecycle_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// annotated returns a Job that declares a lineage in its annotation.
func annotated(job *unstructured.Unstructured, uid types.UID, lineage string) *unstructured.Unstructured {
	job = job.DeepCopy()
	job.SetUID(uid)
	job.SetCreationTimestamp(metav1.NewTime(builders.Epoch))
	job.SetAnnotations(map[string]string{v1alpha1.AnnotationLineage: lineage})
	return job
}

// trainedFrom returns a training pod that ran an image, and was given the ModelVersion mv-2.
func trainedFrom(name, image string) corev1.Pod {
	pod := trainingPod(name, "node-1", "")
	pod.CreationTimestamp = metav1.NewTime(builders.Epoch)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: image, ImageID: image + "@" + builders.Digest}}
	pod.Annotations = map[string]string{v1alpha1.AnnotationServedVersion: "mv-2", v1alpha1.AnnotationServedImage: "modelhub/mv-2@" + builders.Digest}
	return pod
}

func declaredFact(kind v1alpha1.LineageKind, name, uri, source string) v1alpha1.LineageFact {
	return v1alpha1.LineageFact{Origin: v1alpha1.DeclaredFact, Kind: kind, Name: name, URI: uri, Source: source}
}

func observedFact(kind v1alpha1.LineageKind, name, uri, digest, value string) v1alpha1.LineageFact {
	return v1alpha1.LineageFact{Origin: v1alpha1.ObservedFact, Kind: kind, Name: name, URI: uri, Digest: digest, Value: value}
}

func observedJob(uid string) v1alpha1.LineageFact {
	return observedFact(v1alpha1.WorkloadFact, "Job train", "", "uid:"+uid, "2026-03-01T12:00:00Z")
}

func ranImage(name string) v1alpha1.LineageFact {
	return observedFact(v1alpha1.ImageFact, name, name+"@"+builders.Digest, builders.Digest, "")
}

func givenVersion(name string) v1alpha1.LineageFact {
	return observedFact(v1alpha1.BaseModelFact, "ModelVersion "+name, "modelhub/"+name+"@"+builders.Digest, builders.Digest, "")
}

// facts returns the facts in the status of a ModelVersion.
func facts(mv *v1alpha1.ModelVersion) []v1alpha1.LineageFact {
	if mv.Status.Lineage == nil {
		return nil
	}
	return mv.Status.Lineage.Facts
}

// lineageOf returns the facts in the argument of a Workflow.
func (s *scenario) lineageOf(number int) []v1alpha1.LineageFact {
	s.t.Helper()
	decoded, err := lineage.Decode(workflow.Argument(s.observed.Workflows[number], contract.ParamLineage))
	require.NoError(s.t, err)
	return decoded
}

var faces = v1alpha1.Lineage{Datasets: []v1alpha1.Resource{{Name: "faces", URI: "s3://data/faces/v3"}}}

func TestLineageWithoutAny(t *testing.T) {
	s := newScenario(t)
	s.succeeded()
	assert.Nil(t, s.mv().Status.Lineage)
	assert.Empty(t, workflow.Argument(s.observed.Workflows[0], contract.ParamLineage))
}

func TestLineageDeclared(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Lineage = faces.DeepCopy()
	want := []v1alpha1.LineageFact{declaredFact(v1alpha1.DatasetFact, "faces", "s3://data/faces/v3", "spec.lineage")}
	s.started()
	assert.Equal(t, want, s.lineageOf(0))
	assert.Equal(t, want, facts(s.mv()), "while it is built")
	s.updatePass(succeeding)
	assert.Equal(t, want, facts(s.mv()), "when it is Ready")
}

// The lineage can be corrected until a build has succeeded.
func TestLineageDeclaredLater(t *testing.T) {
	s := newScenario(t)
	s.started()
	s.mv().Spec.Lineage = faces.DeepCopy()
	s.updatePass(succeeding)
	assert.Equal(t, []v1alpha1.LineageFact{declaredFact(v1alpha1.DatasetFact, "faces", "s3://data/faces/v3", "spec.lineage")}, facts(s.mv()))

	s.mv().Spec.Lineage = nil // The API server does not allow this.
	s.pass()
	assert.Len(t, facts(s.mv()), 1)
}

func TestLineageTooLarge(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Lineage = &v1alpha1.Lineage{Parameters: map[string]v1alpha1.LineageText{}}
	for i := range 200 {
		s.mv().Spec.Lineage.Parameters[fmt.Sprintf("p%03d", i)] = "1"
	}
	s.started()
	assert.Len(t, s.lineageOf(0), 128)
	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		r := w.Report()
		for i := range 50 {
			r.Lineage = append(r.Lineage, v1alpha1.LineageFact{Origin: v1alpha1.FileFact, Kind: v1alpha1.PropertyFact, Name: fmt.Sprint(i)})
		}
		r.LineageOmitted = 7
		return w.Succeeded(r)
	})
	s.pass()
	assert.Equal(t, v1alpha1.ReasonSucceeded, lifecycle.ReadyReason(s.mv()))
	assert.Len(t, facts(s.mv()), 128+48)
	assert.EqualValues(t, 72+2+7, s.mv().Status.Lineage.Omitted)
}

// The workload and its pods are observed while they exist, and what was recorded stays
// when they are gone.
func TestLineageObserved(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Lineage = faces.DeepCopy()
	own := declaredFact(v1alpha1.DatasetFact, "faces", "s3://data/faces/v3", "spec.lineage")
	code := declaredFact(v1alpha1.CodeFact, "", "https://git.example.com/train", "Job train")
	const annotation = "code: [{uri: https://git.example.com/train}]\ndatasets: [{name: faces, uri: s3://data/faces/v3}]"

	s.trainedByJob(annotated(runs, "77aa", annotation))
	s.pass()
	assert.Equal(t, []v1alpha1.LineageFact{own, code, observedJob("77aa")}, facts(s.mv()))

	s.observed.TrainingPods = []corev1.Pod{trainedFrom("b", "train"), trainedFrom("a", "train")}
	s.pass()
	want := []v1alpha1.LineageFact{own, code, observedJob("77aa"), givenVersion("mv-2"), ranImage("train")}
	assert.Equal(t, want, facts(s.mv()))
	assert.Equal(t, s.mv().Status, s.next().Status, "a pass without news writes nothing")

	s.observed.TrainingPods = []corev1.Pod{trainedFrom("c", "debug")}
	s.pass()
	want = []v1alpha1.LineageFact{own, code, observedJob("77aa"), givenVersion("mv-2"), ranImage("debug"), ranImage("train")}
	assert.Equal(t, want, facts(s.mv()))

	s.observed.TrainingPods = nil
	s.observed.Training = annotated(finished, "77aa", annotation)
	s.started()
	assert.Equal(t, want, s.lineageOf(0))

	s.observed.Training = nil
	s.updatePass(succeeding)
	assert.Equal(t, want, facts(s.mv()))
}

func TestLineageOfAnotherWorkload(t *testing.T) {
	s := newScenario(t)
	s.trainedByJob(annotated(training("Failed", "", ""), "77aa", "run: {name: first}"))
	s.observed.TrainingPods = []corev1.Pod{trainedFrom("a", "train")}
	s.pass()
	require.Len(t, facts(s.mv()), 4)

	s.trainedByJob(annotated(finished, "88bb", "run: {name: second}"))
	s.observed.TrainingPods = nil
	s.started()
	assert.Equal(t, []v1alpha1.LineageFact{declaredFact(v1alpha1.RunFact, "second", "", "Job train"), observedJob("88bb")}, s.lineageOf(0))
}

// A ModelVersion that was created from a workload reads it once more, if it is still that
// one.
func TestLineageOfVersionFromWorkload(t *testing.T) {
	job := annotated(finished, "77aa0000-0000-0000-0000-000000000000", "run: {name: x1}")
	for name, tt := range map[string]struct {
		version string
		want    []v1alpha1.LineageFact
	}{
		"the workload":                 {"mv-train-77aa0", []v1alpha1.LineageFact{declaredFact(v1alpha1.RunFact, "x1", "", "Job train"), observedJob(string(job.GetUID()))}},
		"another one of the same name": {"mv-train-88bb0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.trainedByJob(job)
			s.mv().Name = tt.version
			lifecycle.MarkTrained(s.mv(), nil)
			s.started()
			assert.Equal(t, tt.want, s.lineageOf(0))
		})
	}
}

func TestLineageThatCannotBeRead(t *testing.T) {
	for name, tt := range map[string]struct{ annotation, want string }{
		"a field that does not exist": {"dataset: faces", `unknown field "dataset"`},
		"no YAML":                     {"{", "yaml"},
		"an alias":                    {"datasets: [&a {name: faces}, *a]", "it has an alias of YAML (*NAME): write the value in its place"},
		"deep nesting":                {strings.Repeat("[", 32<<10), "yaml"},
		"a megabyte":                  {strings.Repeat("# a\n", 1<<18), "it has 1048576 bytes, and at most 32768 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.trainedByJob(annotated(runs, "77aa", tt.annotation))
			s.pass()
			for _, want := range []string{tt.want, "The lineage in the annotation model.kubedl.io/lineage of Job train is ignored: ", "kubectl edit -n default job/train", "kubectl edit mv -n default mv-3"} {
				assert.Contains(t, s.mv().Status.Message, want)
			}
			assert.Nil(t, s.next().LineageProblem, "nothing to report before the build starts")

			s.observed.Training = annotated(finished, "77aa", tt.annotation)
			step := s.next()
			require.NotNil(t, step.Create)
			require.NotNil(t, step.LineageProblem)
			assert.Equal(t, lifecycle.EventLineageIgnored, step.LineageProblem.Reason)
			assert.Contains(t, step.LineageProblem.Message, tt.want)
		})
	}
}

// The report of a Workflow states what files state, and nothing else.
func TestLineageOfForgedReport(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Lineage = faces.DeepCopy()
	s.started()
	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		r := w.Report()
		r.Lineage = []v1alpha1.LineageFact{
			givenVersion("forged"), declaredFact(v1alpha1.DatasetFact, "forged", "", "spec.lineage"),
			{Origin: v1alpha1.FileFact, Kind: "Forged", Name: "a"},
			{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "apache-2.0\x1b[2J", Source: "README.md"},
		}
		r.LineageOmitted = -1
		return w.Succeeded(r)
	})
	s.pass()
	assert.Equal(t, &v1alpha1.LineageStatus{Facts: []v1alpha1.LineageFact{
		declaredFact(v1alpha1.DatasetFact, "faces", "s3://data/faces/v3", "spec.lineage"),
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "apache-2.0 [2J", Source: "README.md"},
	}}, s.mv().Status.Lineage)
}

func TestLineageContradiction(t *testing.T) {
	s := newScenario(t)
	s.trainedByJob(annotated(finished, "77aa", ""))
	s.observed.TrainingPods = []corev1.Pod{trainedFrom("a", "train")}
	s.started()
	before := s.mv().Status
	assert.Empty(t, lifecycle.LineageContradiction(s.mv(), v1alpha1.ModelVersionStatus{}), "nothing was read yet")

	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		r := w.Report()
		r.Lineage = []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.BaseModelFact, Name: "meta-llama/Llama-3.1-8B", Source: "README.md"}}
		return w.Succeeded(r)
	})
	s.pass()
	contradictions := map[string]string{}
	for _, fact := range facts(s.mv()) {
		contradictions[fact.Name] = fact.Contradicts
	}
	assert.Equal(t, map[string]string{
		"Job train": "", "train": "", "ModelVersion mv-2": "File README.md: meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B": "Observed: ModelVersion mv-2 " + builders.Digest,
	}, contradictions)
	message := lifecycle.LineageContradiction(s.mv(), before)
	assert.Equal(t, "Observed: ModelVersion mv-2 "+builders.Digest+" contradicts File README.md: meta-llama/Llama-3.1-8B. To see all facts: kubectl get mv -n default mv-3 -o jsonpath='{.status.lineage}'", message)
	assert.Empty(t, lifecycle.LineageContradiction(s.mv(), s.mv().Status), "an event is emitted once")
}

// A model card names a base model as its hub does, or names the base of the base.
func TestLineageOfKnownBase(t *testing.T) {
	hub := builders.MakeModelVersion("mv-2", "default").HuggingFace("", "meta-llama/Llama-3.1-8B").Obj()
	tuned := builders.MakeModelVersion("mv-2", "default").Claim("models", "").Obj()
	tuned.Status.Lineage = &v1alpha1.LineageStatus{Facts: []v1alpha1.LineageFact{declaredFact(v1alpha1.BaseModelFact, "", "hf://meta-llama/Llama-3.1-8B@0e9e39f", "spec.lineage")}}
	other := builders.MakeModelVersion("mv-2", "default").HuggingFace("", "mistralai/Mistral-7B-v0.3").Obj()
	for name, tt := range map[string]struct {
		base *v1alpha1.ModelVersion
		want int
	}{"a model of a hub": {hub, 0}, "a model that was trained from it": {tuned, 0}, "another model": {other, 2}} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.mv().Spec.Lineage = &v1alpha1.Lineage{BaseModels: []v1alpha1.BaseModel{{ModelVersion: "mv-2"}}}
			s.started()
			assert.Equal(t, []string{"mv-2"}, lifecycle.BaseVersions(s.mv()))
			s.observed.Bases = []v1alpha1.ModelVersion{*tt.base}
			s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
				r := w.Report()
				r.Lineage = []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.BaseModelFact, Name: "meta-llama/Llama-3.1-8B", Source: "README.md"}}
				return w.Succeeded(r)
			})
			s.pass()
			assert.Len(t, lineage.Contradictions(facts(s.mv())), tt.want)
		})
	}
}

// A user cannot have a Workflow with another lineage followed.
func TestSelectWorkflowLineage(t *testing.T) {
	other := lineage.Encode([]v1alpha1.LineageFact{declaredFact(v1alpha1.DatasetFact, "other", "", "spec.lineage")})
	observed := lineage.Encode([]v1alpha1.LineageFact{declaredFact(v1alpha1.DatasetFact, "faces", "s3://data/faces/v3", "spec.lineage"), observedJob("77aa")})
	for name, tt := range map[string]struct {
		trained  bool
		argument string
		want     bool
	}{
		"another one":                                  {false, other, false},
		"another one of a training":                    {true, other, false},
		"no lineage at all":                            {false, "%", false},
		"observed, although nothing trained":           {false, observed, false},
		"observed before the status was written":       {true, observed, true},
		"none, as of earlier versions of the operator": {false, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
			mv.Spec.Lineage = faces.DeepCopy()
			if tt.trained {
				mv.Spec.TrainedBy = &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"}
			}
			wf := builders.MakeWorkflow(mv, 1).Argument(contract.ParamLineage, tt.argument)
			assert.Equal(t, tt.want, selectWorkflow(mv, wf.Obj()) != nil)
		})
	}
}

// A ModelVersion that is checked again keeps its lineage, and the attempt has it.
func TestLineageOfRequestedRebuild(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Lineage = faces.DeepCopy()
	s.started()
	s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		r := w.Report()
		r.Lineage = []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "mit", Source: "README.md"}}
		return w.Succeeded(r)
	})
	s.pass()
	ready := s.mv().Status.Lineage
	require.Len(t, ready.Facts, 2)

	s.requestRebuild()
	require.NotNil(t, s.pass())
	assert.Equal(t, ready.Facts[:1], s.lineageOf(1))
	assert.Equal(t, ready, s.mv().Status.Lineage)
	s.updatePass(succeeding)
	assert.Equal(t, ready, s.mv().Status.Lineage)
}
