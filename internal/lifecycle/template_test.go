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
	"github.com/modelkiln/modelkiln/internal/workload"
)

const templateSpec = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {persistentVolumeClaim: {claimName: models}}\n"

// jobWithTemplate returns a Job that has the template of a ModelVersion.
func jobWithTemplate(spec string) *unstructured.Unstructured {
	job := &unstructured.Unstructured{}
	job.SetAPIVersion("batch/v1")
	job.SetKind("Job")
	job.SetNamespace("team")
	job.SetName("train")
	job.SetUID("a1b2c3d4-0000-0000-0000-000000000000")
	job.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: spec})
	return job
}

// setCondition sets the conditions of a workload to one that is True.
func setCondition(workload *unstructured.Unstructured, kind string) {
	workload.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": kind, "status": "True"}}}
}

func TestNextTemplateStep(t *testing.T) {
	tests := map[string]struct {
		edit    func(*unstructured.Unstructured)
		allowed bool
		// wantDryRun and wantCreate say what the step does. Otherwise wantEvent and
		// wantMessage say why it does nothing.
		wantDryRun, wantCreate bool
		wantEvent, wantMessage string
	}{
		"running":     {allowed: true, wantDryRun: true},
		"completed":   {edit: func(w *unstructured.Unstructured) { setCondition(w, "Complete") }, allowed: true, wantCreate: true},
		"failed":      {edit: func(w *unstructured.Unstructured) { setCondition(w, "Failed") }, allowed: true},
		"no template": {edit: func(w *unstructured.Unstructured) { setCondition(w, "Complete"); w.SetAnnotations(nil) }, allowed: true},
		"being deleted": {edit: func(w *unstructured.Unstructured) {
			setCondition(w, "Complete")
			w.SetDeletionTimestamp(ptr.To(metav1.Unix(1, 0)))
		}, allowed: true},
		"already created": {edit: func(w *unstructured.Unstructured) {
			setCondition(w, "Complete")
			w.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: templateSpec, v1alpha1.AnnotationMadeVersion: string(w.GetUID())})
		}, allowed: true},
		"copy of a workload whose ModelVersion was created": {edit: func(w *unstructured.Unstructured) {
			setCondition(w, "Complete")
			w.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: templateSpec, v1alpha1.AnnotationMadeVersion: "another"})
		}, allowed: true, wantCreate: true},
		"namespace does not allow it": {wantEvent: EventNotAllowed, wantMessage: "kubectl label namespace team model.kubedl.io/versions-from-workloads=true"},
		"invalid spec": {edit: func(w *unstructured.Unstructured) {
			w.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: "model: resnet"})
		}, allowed: true, wantEvent: EventRefused, wantMessage: "is not the spec of a ModelVersion"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			job := jobWithTemplate(templateSpec)
			if tt.edit != nil {
				tt.edit(job)
			}
			step := NextTemplateStep(job, tt.allowed, workflow.Options{TrainingKinds: workload.TrainingKinds()})
			assert.Equal(t, [2]bool{tt.wantDryRun || tt.wantCreate, tt.wantCreate}, [2]bool{step.Version != nil, step.Create})
			if tt.wantEvent == "" {
				assert.Nil(t, step.Problem)
				return
			}
			require.NotNil(t, step.Problem)
			assert.Equal(t, tt.wantEvent, step.Problem.Reason)
			assert.Contains(t, step.Problem.Message, tt.wantMessage)
		})
	}
}

func TestFromTemplate(t *testing.T) {
	want := v1alpha1.ModelVersionSpec{
		ModelName: "resnet", ImageRepo: "modelhub/resnet", CreatedBy: "train",
		Storage:   v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "models"}},
		TrainedBy: &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"},
	}
	for name, spec := range map[string]string{
		"YAML": templateSpec,
		"JSON": `{"modelName":"resnet","imageRepo":"modelhub/resnet","storage":{"persistentVolumeClaim":{"claimName":"models"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			mv, problem := FromTemplate(jobWithTemplate(spec), workflow.Options{})
			require.Nil(t, problem)
			assert.Equal(t, [2]string{"team", "mv-train-a1b2c"}, [2]string{mv.Namespace, mv.Name})
			assert.Equal(t, want, mv.Spec)
		})
	}
	mv, problem := FromTemplate(jobWithTemplate(templateSpec+"createdBy: Ada & *Bob"), workflow.Options{})
	require.Nil(t, problem)
	assert.Equal(t, "Ada & *Bob", mv.Spec.CreatedBy)
}

func TestFromTemplateRejects(t *testing.T) {
	for name, tt := range map[string]struct{ spec, want string }{
		"empty":                         {"", "storage names no kind"},
		"too long":                      {templateSpec + "#" + strings.Repeat("a", maxTemplate), "and at most 16384 are read"},
		"not YAML":                      {"{", "is not the spec of a ModelVersion"},
		"unknown field":                 {templateSpec + "imagerepo: x", `unknown field "imagerepo"`},
		"duplicate field":               {templateSpec + "modelName: x", `"modelName" already set`},
		"complete ModelVersion":         {"apiVersion: v1\nkind: ModelVersion", "is not the spec"},
		"trainedBy of another workload": {templateSpec + "trainedBy: {kind: Job}", "remove it"},
		"no storage":                    {"modelName: resnet\nimageRepo: modelhub/resnet", "cannot be built: storage names no kind: set one of localStorage, nfs, AWSEfs, persistentVolumeClaim, s3, huggingFace or image"},
		"incomplete claim":              {"storage: {persistentVolumeClaim: {subPath: resnet}}", "cannot be built: persistentVolumeClaim needs claimName: name the claim"},
		"incomplete NFS":                {"storage: {nfs: {server: nas}}", "cannot be built: nfs needs server and path: name the NFS server"},
		"forbidden directory":           {"storage: {localStorage: {path: /etc}}", "cannot be built: "},
		"alias":                         {templateSpec + "createdBy: &a x\nimageTag: *a", "it has an alias of YAML (*NAME): write the value in its place"},
		"alias that is merged":          {"a: &a {modelName: resnet}\n<<: *a", "it has an alias of YAML"},
		"aliases of aliases":            {"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]", "it has an alias of YAML"},
		"escape sequence":               {`storage: {localStorage: {path: "/etc/\e[2J\u009b2J\u202e"}}`, "/etc/ [2J 2J  cannot be packaged"},
	} {
		t.Run(name, func(t *testing.T) {
			mv, problem := FromTemplate(jobWithTemplate(tt.spec), workflow.Options{})
			assert.Nil(t, mv)
			require.NotNil(t, problem)
			assert.Equal(t, EventRefused, problem.Reason)
			assert.Contains(t, problem.Message, tt.want)
			assert.NotContains(t, problem.Message, "create a new ModelVersion", "the user writes a workload")
		})
	}
}
