package lifecycle

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

const carriedSpec = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {persistentVolumeClaim: {claimName: models}}\n"

// carryingJob is a Job that carries a version's spec.
func carryingJob(name, spec string) *unstructured.Unstructured {
	job := &unstructured.Unstructured{}
	job.SetAPIVersion("batch/v1")
	job.SetKind("Job")
	job.SetNamespace("team")
	job.SetName(name)
	job.SetUID("a1b2c3d4-0000-0000-0000-000000000000")
	job.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: spec})
	return job
}

// condition gives a workload a condition that is True.
func condition(workload *unstructured.Unstructured, kind string) {
	workload.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": kind, "status": "True"}}}
}

func TestAWorkloadsVersionIsMadeWhenItHasCompleted(t *testing.T) {
	tests := map[string]struct {
		edit    func(*unstructured.Unstructured)
		allowed bool
		// what is done: a version is tried or created, or an event says why not.
		tried, created bool
		event, words   string
	}{
		"while it runs, the version is tried": {allowed: true, tried: true},
		"it has completed":                    {edit: func(w *unstructured.Unstructured) { condition(w, "Complete") }, allowed: true, created: true},
		"none is made when it failed":         {edit: func(w *unstructured.Unstructured) { condition(w, "Failed") }, allowed: true},
		"nor when it carries none":            {edit: func(w *unstructured.Unstructured) { condition(w, "Complete"); w.SetAnnotations(nil) }, allowed: true},
		"nor when it is being deleted": {edit: func(w *unstructured.Unstructured) {
			condition(w, "Complete")
			w.SetDeletionTimestamp(ptr.To(metav1.Unix(1, 0)))
		}, allowed: true},
		"nor when it was made before": {edit: func(w *unstructured.Unstructured) {
			condition(w, "Complete")
			w.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: carriedSpec, v1alpha1.AnnotationMadeVersion: string(w.GetUID())})
		}, allowed: true},
		"the version of what this is a copy of does not count": {edit: func(w *unstructured.Unstructured) {
			condition(w, "Complete")
			w.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: carriedSpec, v1alpha1.AnnotationMadeVersion: "another"})
		}, allowed: true, created: true},
		"the namespace does not allow it": {event: EventNotAllowed, words: "kubectl label namespace team model.kubedl.io/versions-from-workloads=true"},
		"its spec is wrong": {edit: func(w *unstructured.Unstructured) {
			w.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: "model: resnet"})
		}, allowed: true, event: EventRefused, words: "is not the spec of a ModelVersion"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			job := carryingJob("train", carriedSpec)
			if tt.edit != nil {
				tt.edit(job)
			}
			step := NextTemplateStep(job, tt.allowed, workflow.Options{})
			assert.Equal(t, [2]bool{tt.tried || tt.created, tt.created}, [2]bool{step.Version != nil, step.Create})
			if tt.event == "" {
				assert.Nil(t, step.Problem)
				return
			}
			require.NotNil(t, step.Problem)
			assert.Equal(t, tt.event, step.Problem.Reason)
			assert.Contains(t, step.Problem.Message, tt.words)
		})
	}
}

func TestAWorkloadsVersionHasTheSpecThatTheWorkloadCarries(t *testing.T) {
	want := v1alpha1.ModelVersionSpec{
		ModelName: "resnet", ImageRepo: "modelhub/resnet", CreatedBy: "train",
		Storage:   v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "models"}},
		TrainedBy: &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"},
	}
	for name, spec := range map[string]string{
		"YAML": carriedSpec,
		"JSON": `{"modelName":"resnet","imageRepo":"modelhub/resnet","storage":{"persistentVolumeClaim":{"claimName":"models"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			mv, problem := FromTemplate(carryingJob("train", spec), workflow.Options{})
			require.Nil(t, problem)
			assert.Equal(t, [2]string{"team", "mv-train-a1b2c"}, [2]string{mv.Namespace, mv.Name})
			assert.Equal(t, want, mv.Spec)
		})
	}
	mv, problem := FromTemplate(carryingJob("train", carriedSpec+"createdBy: Ada"), workflow.Options{})
	require.Nil(t, problem)
	assert.Equal(t, "Ada", mv.Spec.CreatedBy)
}

func TestASpecThatAWorkloadMayNotCarryIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ spec, want string }{
		"nothing":            {"", "storage names no kind"},
		"no YAML":            {"{", "is not the spec of a ModelVersion"},
		"an unknown field":   {carriedSpec + "imagerepo: x", `unknown field "imagerepo"`},
		"a field twice":      {carriedSpec + "modelName: x", `"modelName" already set`},
		"a whole version":    {"apiVersion: v1\nkind: ModelVersion", "is not the spec"},
		"another workload":   {carriedSpec + "trainedBy: {kind: Job}", "remove it"},
		"a forbidden folder": {"storage: {localStorage: {path: /etc}}", "cannot be built: "},
	} {
		t.Run(name, func(t *testing.T) {
			mv, problem := FromTemplate(carryingJob("train", tt.spec), workflow.Options{})
			assert.Nil(t, mv)
			require.NotNil(t, problem)
			assert.Equal(t, EventRefused, problem.Reason)
			assert.Contains(t, problem.Message, tt.want)
		})
	}
}

func TestAWorkloadsVersionHasANameThatALabelCanHold(t *testing.T) {
	name := func(workload string) string {
		return workflow.ModelVersionName(workload, carryingJob(workload, carriedSpec).GetUID())
	}
	assert.Equal(t, "mv-"+strings.Repeat("a", 54)+"-a1b2c", name(strings.Repeat("a", 54)))
	long := name(strings.Repeat("a", 55))
	assert.Len(t, long, 63)
	assert.Regexp(t, "^mv-a+-[0-9a-f]{8}-a1b2c$", long)
	assert.NotEqual(t, long, name(strings.Repeat("a", 56)))
}
