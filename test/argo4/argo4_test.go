// Package argo4 tests the workflow templates with the code of Argo v4, for users
// of that version. test/argo tests them with v3.7, with which the operator is
// built.
package argo4

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v4/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v4/util/expr/argoexpr"
	"github.com/argoproj/argo-workflows/v4/util/expr/env"
	"github.com/argoproj/argo-workflows/v4/util/logging"
	argotemplate "github.com/argoproj/argo-workflows/v4/util/template"
	"github.com/argoproj/argo-workflows/v4/workflow/common"
	"github.com/argoproj/argo-workflows/v4/workflow/util"
	"github.com/argoproj/argo-workflows/v4/workflow/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// templates is a getter of ClusterWorkflowTemplates for Argo's validation.
type templates []*wfv1.ClusterWorkflowTemplate

// Get returns the template with the name, or a NotFound error.
func (list templates) Get(_ context.Context, name string) (*wfv1.ClusterWorkflowTemplate, error) {
	for _, tmpl := range list {
		if tmpl.Name == name {
			return tmpl, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "clusterworkflowtemplates"}, name)
}

// logged returns a context with the logger that Argo v4 requires.
func logged(t *testing.T) context.Context {
	t.Helper()
	return logging.TestContext(t.Context())
}

// read reads a YAML file. It fails on fields that Argo v4 does not know.
func read[T any](t *testing.T, file string) *T {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	into := new(T)
	require.NoError(t, yaml.UnmarshalStrict(raw, into))
	return into
}

func template(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	return read[wfv1.ClusterWorkflowTemplate](t, "../../workflow-templates/kaniko/modelkiln-build.yaml")
}

// streamTemplate returns the template for the engine Stream, which kustomize
// creates with a patch.
func streamTemplate(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	raw, err := os.ReadFile("../../workflow-templates/stream/patch.yaml")
	require.NoError(t, err)
	raw, err = yaml.YAMLToJSON(raw)
	require.NoError(t, err)
	patch, err := jsonpatch.DecodePatch(raw)
	require.NoError(t, err)
	raw, err = json.Marshal(template(t))
	require.NoError(t, err)
	raw, err = patch.Apply(raw)
	require.NoError(t, err)
	var tmpl wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(raw, &tmpl))
	return &tmpl
}

// templateOf returns the template that a Workflow references. Templates with
// other names are represented by the default.
func templateOf(t *testing.T, wf *wfv1.Workflow) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	if wf.Spec.WorkflowTemplateRef.Name == "modelkiln-build-stream" {
		return streamTemplate(t)
	}
	return template(t)
}

func promoteTemplate(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	return read[wfv1.ClusterWorkflowTemplate](t, "../../workflow-templates/promote/modelkiln-promote.yaml")
}

// workflows returns the operator's golden Workflows by name.
func workflows(t *testing.T) map[string]*wfv1.Workflow {
	t.Helper()
	return workflowsIn(t, "workflow")
}

func workflowsIn(t *testing.T, dir string) map[string]*wfv1.Workflow {
	t.Helper()
	files, err := filepath.Glob("../../internal/workflow/testdata/" + dir + "/*.workflow.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]*wfv1.Workflow{}
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ".workflow.yaml")] = read[wfv1.Workflow](t, file)
	}
	return all
}

func TestValidateClusterWorkflowTemplate(t *testing.T) {
	for _, tmpl := range []*wfv1.ClusterWorkflowTemplate{template(t), streamTemplate(t), promoteTemplate(t)} {
		err := validate.ValidateClusterWorkflowTemplate(logged(t), nil, templates{}, tmpl, nil, validate.ValidateOpts{Lint: true})
		require.NoError(t, err, tmpl.Name)
	}
}

func TestValidateWorkflow(t *testing.T) {
	for name, wf := range workflows(t) {
		t.Run(name, func(t *testing.T) {
			tmpl := templateOf(t, wf)
			tmpl.Name = wf.Spec.WorkflowTemplateRef.Name
			err := validate.ValidateWorkflow(logged(t), nil, templates{tmpl}, wf, nil, validate.ValidateOpts{})
			require.NoError(t, err)
		})
	}
}

func TestValidatePromotion(t *testing.T) {
	for name, wf := range workflowsIn(t, "promotion") {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, validate.ValidateWorkflow(logged(t), nil, templates{promoteTemplate(t)}, wf, nil, validate.ValidateOpts{}))
		})
	}
}

// Argo v4 creates the same pods as v3.7, whose golden files are in test/argo.
func TestPod(t *testing.T) {
	for name, wf := range workflows(t) {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile("../argo/testdata/" + name + ".pod.yaml")
			require.NoError(t, err)
			got, err := yaml.Marshal(pod(t, templateOf(t, wf), arguments(t, wf)))
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got))
		})
	}
}

// pod returns the spec of the build's pod: see podOf.
func pod(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate, args common.Parameters) *corev1.PodSpec {
	t.Helper()
	return &podOf(t, tmpl, args).Spec
}

// podOf returns the part of the build's pod that depends on arguments. It follows
// Argo's executeTemplate, addMetadata and createWorkflowPod.
func podOf(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate, args common.Parameters) *corev1.Pod {
	t.Helper()
	task := replaced(t, tmpl.Spec.Templates[1].DAG.Tasks[0], args)
	build := tmpl.Spec.Templates[0].DeepCopy()
	maps.Copy(build.Metadata.Labels, tmpl.Spec.PodMetadata.Labels)
	maps.Copy(build.Metadata.Annotations, tmpl.Spec.PodMetadata.Annotations)
	build = expandWith(t, build, &task.Arguments, args)
	created := corev1.Pod{Spec: corev1.PodSpec{
		Volumes:        build.Volumes,
		InitContainers: []corev1.Container{{Name: common.InitContainerName}},
		Containers:     []corev1.Container{{Name: common.WaitContainerName}},
	}}
	for _, node := range build.ContainerSet.Containers {
		created.Spec.Containers = append(created.Spec.Containers, node.Container)
	}
	created.Labels, created.Annotations = maps.Clone(tmpl.Spec.PodMetadata.Labels), maps.Clone(tmpl.Spec.PodMetadata.Annotations)
	created.Annotations[common.AnnotationKeyDefaultContainer] = common.MainContainerName
	maps.Copy(created.Labels, build.Metadata.Labels)
	maps.Copy(created.Annotations, build.Metadata.Annotations)
	created = replaced(t, created, args)
	spec, err := util.ApplyPodSpecPatch(created.Spec, expand(t, &wfv1.Template{PodSpecPatch: tmpl.Spec.PodSpecPatch}, args).PodSpecPatch, expand(t, build, args).PodSpecPatch)
	require.NoError(t, err)
	created.Spec = *spec
	return &created
}

// replaced returns a value after Argo has expanded it.
func replaced[T any](t *testing.T, value T, args common.Parameters) T {
	t.Helper()
	raw, err := json.Marshal(value)
	require.NoError(t, err)
	expanded, err := argotemplate.Replace(logged(t), string(raw), args, true)
	require.NoError(t, err)
	var into T
	require.NoError(t, json.Unmarshal([]byte(expanded), &into))
	return into
}

func expand(t *testing.T, tmpl *wfv1.Template, args common.Parameters) *wfv1.Template {
	t.Helper()
	return expandWith(t, tmpl, &wfv1.Arguments{}, args)
}

func expandWith(t *testing.T, tmpl *wfv1.Template, inputs *wfv1.Arguments, args common.Parameters) *wfv1.Template {
	t.Helper()
	expanded, err := common.ProcessArgs(logged(t), tmpl, inputs, args, common.Parameters{}, false, "default", nil)
	require.NoError(t, err)
	return expanded
}

// Labels and annotations of the configuration override the template's defaults, and
// those on which Argo depends cannot be set.
func TestPodLabelsAndAnnotations(t *testing.T) {
	for name, tmpl := range map[string]*wfv1.ClusterWorkflowTemplate{"Kaniko": template(t), "Stream": streamTemplate(t)} {
		t.Run(name, func(t *testing.T) {
			args := arguments(t, workflows(t)["nfs"])
			args["workflow.parameters.pod-labels"] = "workflows.argoproj.io/workflow=other,team=vision,sidecar.istio.io/inject=true"
			args["workflow.parameters.pod-annotations"] = "workflows.argoproj.io/node-id=other\nlinkerd.io/inject=enabled\nnote=a, {b}"
			tmpl.Spec = replaced(t, tmpl.Spec, args)

			got := podOf(t, tmpl, args)
			assert.Equal(t, map[string]string{
				"app.kubernetes.io/name": "modelkiln", "app.kubernetes.io/component": "build",
				"sidecar.istio.io/inject": "true", "team": "vision", "azure.workload.identity/use": "true",
			}, got.Labels)
			assert.Equal(t, map[string]string{
				"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true",
				"kubectl.kubernetes.io/default-container": "main", "linkerd.io/inject": "enabled", "note": "a, {b}",
				"sidecar.istio.io/inject": "false",
			}, got.Annotations)
		})
	}
}

// arguments returns the global parameters that Argo derives from a Workflow's
// arguments and the template's defaults.
func arguments(t *testing.T, wf *wfv1.Workflow) common.Parameters {
	t.Helper()
	args := common.Parameters{"workflow.uid": "11111111-2222-3333-4444-555555555555"}
	for _, list := range [][]wfv1.Parameter{streamTemplate(t).Spec.Arguments.Parameters, wf.Spec.Arguments.Parameters} {
		for _, parameter := range list {
			if parameter.Value != nil {
				args["workflow.parameters."+parameter.Name] = parameter.Value.String()
			}
		}
	}
	return args
}

func TestRetryStrategy(t *testing.T) {
	tests := map[string]struct {
		report string
		want   bool
	}{
		"no step was started": {"", true},
		"a transient failure": {`{"failure":{"reason":"RegistryUnreachable","transient":true}}`, true},
		"a permanent failure": {`{"failure":{"reason":"RegistryUnauthorized"}}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			outputs := common.Parameters{"workflow.name": "a-1"}
			if tt.report != "" {
				outputs["workflow.outputs.parameters.report"] = tt.report
			}
			spec := template(t).Spec
			i := slices.IndexFunc(spec.Templates, func(each wfv1.Template) bool { return each.Name == spec.Entrypoint })
			expanded := expand(t, &spec.Templates[i], outputs)
			got, err := argoexpr.EvalBool(expanded.RetryStrategy.Expression, env.GetFuncMap(map[string]any{"lastRetry.status": "Failed"}))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestFormulateRetryWorkflow(t *testing.T) {
	for _, name := range []string{"failed-in-mount-check", "failed-after-tries"} {
		t.Run(name, func(t *testing.T) {
			wf := read[wfv1.Workflow](t, "../argo/testdata/"+name+".workflow.yaml")
			got, pods, err := util.FormulateRetryWorkflow(logged(t), wf, false, "", nil)
			require.NoError(t, err)
			assert.NotEmpty(t, pods, "the pods of the failed attempts are deleted")
			for _, node := range got.Status.Nodes {
				assert.False(t, node.FailedOrError(), node.Name)
			}
		})
	}
}
