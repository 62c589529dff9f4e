package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// declares sets what a ModelVersion declares about its making.
func declares(fields map[string]any) change { return set("spec.lineage", fields) }

func TestAdmissionLineage(t *testing.T) {
	const (
		noResource  = "a resource needs a name, a uri or a digest, for example {uri: s3://data/faces/v3}"
		badDigests  = "digest maps an algorithm to a digest, for example {sha256: 9f86d0…} or {gitCommit: 1a2b3c…}"
		oneBase     = "a base model is either a modelVersion of this namespace, for example {modelVersion: mv-2}, or another model, for example {uri: hf://meta-llama/Llama-3.1-8B}"
		noMetric    = `a metric needs a name and a value, for example {name: accuracy, value: "0.913"}`
		longUnnamed = "parameters have a name of 1 to 256 characters and a value of at most 256: link longer ones with run.uri"
	)
	many := func(n int) []any {
		var list []any
		for i := range n {
			list = append(list, map[string]any{"name": fmt.Sprint(i)})
		}
		return list
	}
	rejections{
		"a dataset without anything":      {localVersion, declares(map[string]any{"datasets": []any{map[string]any{}}}), []fieldError{{"spec.lineage.datasets[0]", noResource}}},
		"a digest of an odd algorithm":    {localVersion, declares(map[string]any{"code": []any{map[string]any{"digest": map[string]any{"sha 256": "aa"}}}}), []fieldError{{"spec.lineage.code[0].digest", badDigests}}},
		"a digest with a space":           {localVersion, declares(map[string]any{"run": map[string]any{"digest": map[string]any{"sha256": "a a"}}}), []fieldError{{"spec.lineage.run.digest", badDigests}}},
		"a base model of two kinds":       {localVersion, declares(map[string]any{"baseModels": []any{map[string]any{"modelVersion": "mv-2", "uri": "hf://a"}}}), []fieldError{{"spec.lineage.baseModels[0]", oneBase}}},
		"a base model without a name":     {localVersion, declares(map[string]any{"baseModels": []any{map[string]any{}}}), []fieldError{{"spec.lineage.baseModels[0]", oneBase}}},
		"a metric without a value":        {localVersion, declares(map[string]any{"metrics": []any{map[string]any{"name": "accuracy"}}}), []fieldError{{"spec.lineage.metrics[0]", noMetric}}},
		"a parameter with a long name":    {localVersion, declares(map[string]any{"parameters": map[string]any{strings.Repeat("a", 257): "1"}}), []fieldError{{"spec.lineage.parameters", longUnnamed}}},
		"a parameter without a name":      {localVersion, declares(map[string]any{"parameters": map[string]any{"": "1"}}), []fieldError{{"spec.lineage.parameters", longUnnamed}}},
		"more datasets than are accepted": {localVersion, declares(map[string]any{"datasets": many(33)}), []fieldError{{"spec.lineage.datasets", "Too many: 33: must have at most 32 items"}, {"<nil>", unchecked}}},
	}.run(t)
}

// Ten thousand entries, or a megabyte of text, are refused before a rule is evaluated.
func TestAdmissionLineageTooLarge(t *testing.T) {
	namespace := shared.createNamespace(t)
	var many []any
	for range 10_000 {
		many = append(many, map[string]any{"name": "a"})
	}
	for name, fields := range map[string]map[string]any{
		"ten thousand entries": {"datasets": many},
		"a megabyte of text":   {"run": map[string]any{"uri": strings.Repeat("a", 1<<20)}},
		"a megabyte of values": {"parameters": map[string]any{"a": strings.Repeat("a", 1<<20)}},
	} {
		t.Run(name, func(t *testing.T) {
			err := shared.admin.Create(t.Context(), newObject(t, namespace, localVersion, declares(fields)), client.DryRunAll)
			assert.True(t, apierrors.IsInvalid(err), "%v", err)
		})
	}
}

// everyLineageField has each field of a lineage.
var everyLineageField = map[string]any{
	"datasets":   []any{map[string]any{"name": "faces", "uri": "s3://data/faces/v3", "digest": map[string]any{"sha256": "9f86d081"}}},
	"code":       []any{map[string]any{"uri": "git+https://github.com/acme/train@refs/tags/v7", "digest": map[string]any{"gitCommit": "1a2b3c"}}},
	"baseModels": []any{map[string]any{"uri": "hf://meta-llama/Llama-3.1-8B@0e9e39f"}},
	"run":        map[string]any{"uri": "https://wandb.ai/acme/r/runs/x1"},
	"parameters": map[string]any{"learning-rate": "3e-4"},
	"metrics":    []any{map[string]any{"name": "accuracy", "value": "0.913", "dataset": "faces-test"}},
}

// awaitFacts returns the facts of a ModelVersion once there are as many.
func (s sandbox) awaitFacts(name string, count int) []v1alpha1.LineageFact {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		require.NotNil(c, mv.Status.Lineage)
		assert.Len(c, mv.Status.Lineage.Facts, count)
	}, deadline, tick)
	return mv.Status.Lineage.Facts
}

// reportFiles finishes a Workflow with a report in which files state these facts.
func (s sandbox) reportFiles(wf *wfv1.Workflow, facts ...v1alpha1.LineageFact) {
	s.t.Helper()
	r := goodReport(wf)
	r.Lineage = facts
	s.argo.finish(wf, wfv1.WorkflowSucceeded, "", r)
}

func ofFile(kind v1alpha1.LineageKind, name, value string) v1alpha1.LineageFact {
	return v1alpha1.LineageFact{Origin: v1alpha1.FileFact, Kind: kind, Name: name, Value: value, Source: "README.md"}
}

func argumentFacts(t *testing.T, wf *wfv1.Workflow) []v1alpha1.LineageFact {
	t.Helper()
	facts, err := lineage.Decode(workflow.Argument(wf, contract.ParamLineage))
	require.NoError(t, err)
	return facts
}

func TestLineage(t *testing.T) {
	startOperator(t, shared)

	t.Run("what is declared can be changed until a build succeeds", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion, declares(everyLineageField))
		wf := s.argo.awaitOnlyWorkflow()
		assert.Len(t, argumentFacts(t, wf), 6)
		assert.Equal(t, argumentFacts(t, wf), s.awaitFacts(resnet, 6))

		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Lineage.Metrics = nil })
		s.awaitFacts(resnet, 5)
		s.reportFiles(wf, ofFile(v1alpha1.LicenseFact, "", "apache-2.0"))
		s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, ofFile(v1alpha1.LicenseFact, "", "apache-2.0"), s.awaitFacts(resnet, 6)[5])

		for name, edit := range map[string]func(*v1alpha1.ModelVersion){
			"changed": func(mv *v1alpha1.ModelVersion) { mv.Spec.Lineage.Run.URI = "https://wandb.ai/acme/r/runs/x2" },
			"removed": func(mv *v1alpha1.ModelVersion) { mv.Spec.Lineage = nil },
		} {
			mv := s.version(resnet)
			edit(mv)
			want := []fieldError{{"<nil>", "lineage cannot be changed after a build has succeeded, because it may be attested: create a new ModelVersion"}}
			assert.Equal(t, want, fieldErrors(t, s.client.Update(t.Context(), mv)), name)
		}
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.CreatedBy = "ann" })
	})

	t.Run("what is observed outlives the training", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
		job := s.newJob("train")
		job.Annotations = map[string]string{v1alpha1.AnnotationLineage: "datasets: [{uri: s3://data/faces/v3}]"}
		require.NoError(t, s.client.Create(t.Context(), job))
		s.awaitFacts(resnet, 2)

		pod := s.createTrainingPod("train-x", "node-7", map[string]string{v1alpha1.LabelTrainVersion: resnet})
		pod.Annotations = map[string]string{v1alpha1.AnnotationServedVersion: "mv-2", v1alpha1.AnnotationServedImage: "modelhub/resnet@" + digest}
		require.NoError(t, s.client.Update(t.Context(), pod))
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "train", Image: "train:v7", ImageID: "train@" + digest}}}
		require.NoError(t, s.client.Status().Update(t.Context(), pod))
		s.awaitFacts(resnet, 4)
		require.NoError(t, s.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
		s.completeJob(job)

		wf := s.argo.awaitOnlyWorkflow()
		got := argumentFacts(t, wf)
		require.Len(t, got, 4)
		assert.Regexp(t, `^[-0-9T:]+Z/[-0-9T:]+Z$`, got[1].Value)
		got[1].Value = ""
		assert.Equal(t, []v1alpha1.LineageFact{
			{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, URI: "s3://data/faces/v3", Source: "Job train"},
			{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.WorkloadFact, Name: "Job train", Digest: "uid:" + string(job.UID)},
			{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.BaseModelFact, Name: "ModelVersion mv-2", URI: "modelhub/resnet@" + digest, Digest: digest},
			{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "train:v7", URI: "train@" + digest, Digest: digest},
		}, got)

		require.NoError(t, s.client.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)))
		s.reportFiles(wf, ofFile(v1alpha1.BaseModelFact, "meta-llama/Llama-3.1-8B", ""))
		facts := s.awaitFacts(resnet, 5)
		assert.Equal(t, "File README.md: meta-llama/Llama-3.1-8B", facts[2].Contradicts)
		assert.Equal(t, "Observed: ModelVersion mv-2 "+digest, facts[4].Contradicts)
		s.awaitEvent("ModelVersion", lifecycle.EventLineageContradiction, "contradicts File README.md: meta-llama/Llama-3.1-8B")
	})

	t.Run("a base model is also known by its Model", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		base := s.createReady()
		s.create(localVersion, set("metadata.name", "tuned"), declares(map[string]any{"baseModels": []any{map[string]any{"modelVersion": base.Name}}}))
		s.reportFiles(s.argo.awaitAttempt(s.version("tuned"), 1), ofFile(v1alpha1.BaseModelFact, base.Spec.ModelName, ""))
		s.awaitReason("tuned", v1alpha1.ReasonSucceeded)
		assert.Empty(t, lineage.Contradictions(s.awaitFacts("tuned", 2)))
	})

	t.Run("an annotation that cannot be read stops no build", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(claimVersion, trainedBy("batch/v1", "Job", "train"))
		job := s.newJob("train")
		job.Annotations = map[string]string{v1alpha1.AnnotationLineage: "datasets: " + strings.Repeat("[", 40<<10)}
		require.NoError(t, s.client.Create(t.Context(), job))
		s.awaitMessage("The lineage in the annotation model.kubedl.io/lineage of Job train is ignored: it has 40970 bytes, and at most 32768 are read")
		s.completeJob(job)
		s.completeBuild(s.argo.awaitOnlyWorkflow())
		s.awaitEvent("ModelVersion", lifecycle.EventLineageIgnored, "kubectl edit -n "+s.namespace+" job/train")
	})

	t.Run("a ModelVersion from a workload has the lineage of both annotations", func(t *testing.T) {
		t.Parallel()
		s := newTemplateSandbox(t)
		job := s.newJobWithTemplate("train", claimTemplate+"lineage: {parameters: {epochs: \"3\"}}\n")
		job.Annotations[v1alpha1.AnnotationLineage] = "run: {name: x1}"
		require.NoError(t, s.client.Create(t.Context(), job))
		s.completeJob(job)
		mv := s.awaitVersion(job)
		facts := argumentFacts(t, s.argo.awaitOnlyWorkflow())
		require.Len(t, facts, 3)
		assert.Equal(t, []string{"spec.lineage", "Job train", ""}, []string{facts[0].Source, facts[1].Source, facts[2].Source})
		assert.Equal(t, "Job train", facts[2].Name)
		s.completeBuild(s.argo.awaitOnlyWorkflow())
		s.awaitFacts(mv.Name, 3)
	})

	t.Run("more facts of files than a status holds are counted", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		s.create(localVersion)
		wf := s.argo.awaitOnlyWorkflow()
		var many []v1alpha1.LineageFact
		for i := range 700 {
			many = append(many, ofFile(v1alpha1.PropertyFact, fmt.Sprint(i), ""))
		}
		raw, err := json.Marshal(many)
		require.NoError(t, err)
		require.Less(t, len(raw), 63<<10, "a larger report is refused")
		s.reportFiles(wf, many...)
		s.awaitFacts(resnet, 48)
		assert.EqualValues(t, 652, s.version(resnet).Status.Lineage.Omitted)
	})
}
