// Package argo4 holds the workflow template to Argo v4's own code: what is
// tested in test/argo with v3.7, which the operator is built with, is to hold
// for those who have Argo v4.
package argo4

import (
	"context"
	"encoding/json"
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

// templates are the ClusterWorkflowTemplates that Argo's code may look up.
type templates []*wfv1.ClusterWorkflowTemplate

// Get is the template of that name, or a NotFound error.
func (list templates) Get(_ context.Context, name string) (*wfv1.ClusterWorkflowTemplate, error) {
	for _, tmpl := range list {
		if tmpl.Name == name {
			return tmpl, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "clusterworkflowtemplates"}, name)
}

// logged is a context with the logger that Argo v4 asks for.
func logged(t *testing.T) context.Context {
	t.Helper()
	return logging.TestContext(t.Context())
}

// read reads a YAML file, in which v4 must know every field.
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

// streamTemplate is what kustomize makes of the template for the engine Stream.
func streamTemplate(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	raw, err := os.ReadFile("../../workflow-templates/stream/patch.yaml")
	require.NoError(t, err)
	raw, err = yaml.YAMLToJSON(raw)
	require.NoError(t, err)
	patch, err := jsonpatch.DecodePatch(raw)
	require.NoError(t, err)
	whole, err := json.Marshal(template(t))
	require.NoError(t, err)
	whole, err = patch.Apply(whole)
	require.NoError(t, err)
	var tmpl wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(whole, &tmpl))
	return &tmpl
}

// templateOf is the template that a Workflow names, or that stands for one of
// another name.
func templateOf(t *testing.T, wf *wfv1.Workflow) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	if wf.Spec.WorkflowTemplateRef.Name == "modelkiln-build-stream" {
		return streamTemplate(t)
	}
	return template(t)
}

// workflows are the golden Workflows that the operator makes, by name.
func workflows(t *testing.T) map[string]*wfv1.Workflow {
	t.Helper()
	files, err := filepath.Glob("../../internal/workflow/testdata/workflow/*.workflow.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]*wfv1.Workflow{}
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ".workflow.yaml")] = read[wfv1.Workflow](t, file)
	}
	return all
}

func TestArgoAcceptsTheTemplates(t *testing.T) {
	for _, tmpl := range []*wfv1.ClusterWorkflowTemplate{template(t), streamTemplate(t)} {
		err := validate.ValidateClusterWorkflowTemplate(logged(t), nil, templates{}, tmpl, nil, validate.ValidateOpts{Lint: true})
		require.NoError(t, err, tmpl.Name)
	}
}

func TestArgoAcceptsEveryWorkflowTheOperatorMakes(t *testing.T) {
	for name, wf := range workflows(t) {
		t.Run(name, func(t *testing.T) {
			tmpl := templateOf(t, wf)
			tmpl.Name = wf.Spec.WorkflowTemplateRef.Name
			err := validate.ValidateWorkflow(logged(t), nil, templates{tmpl}, wf, nil, validate.ValidateOpts{})
			require.NoError(t, err)
		})
	}
}

// The template's expressions lead to the same pods as in v3.7: to those of its
// golden files.
func TestArgumentsBecomeThePodsThatTheyBecomeInV3(t *testing.T) {
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

// pod is the part of the build pod that depends on arguments, made by Argo's
// own steps (executeTemplate, createWorkflowPod).
func pod(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate, args common.Parameters) *corev1.PodSpec {
	t.Helper()
	i := slices.IndexFunc(tmpl.Spec.Templates, func(each wfv1.Template) bool { return each.ContainerSet != nil })
	require.NotEqual(t, -1, i)
	build := expand(t, &tmpl.Spec.Templates[i], args)
	spec := corev1.PodSpec{Volumes: build.Volumes}
	for _, node := range build.ContainerSet.Containers {
		spec.Containers = append(spec.Containers, node.Container)
	}
	raw, err := json.Marshal(spec)
	require.NoError(t, err)
	expanded, err := argotemplate.Replace(logged(t), string(raw), args, true)
	require.NoError(t, err)
	spec = corev1.PodSpec{}
	require.NoError(t, json.Unmarshal([]byte(expanded), &spec))
	patched, err := util.ApplyPodSpecPatch(spec, expand(t, build, args).PodSpecPatch)
	require.NoError(t, err)
	return patched
}

func expand(t *testing.T, tmpl *wfv1.Template, args common.Parameters) *wfv1.Template {
	t.Helper()
	expanded, err := common.ProcessArgs(logged(t), tmpl, &wfv1.Arguments{}, args, common.Parameters{}, false, "default", nil)
	require.NoError(t, err)
	return expanded
}

// arguments are the global parameters that Argo makes of a Workflow's
// arguments and of the template's defaults.
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

func TestArgoTriesAgainWhatPassesByItself(t *testing.T) {
	tests := map[string]struct {
		report string
		want   bool
	}{
		"no step began":                         {"", true},
		"a step failed for what passes":         {`{"failure":{"reason":"RegistryUnreachable","transient":true}}`, true},
		"a step failed for what a person mends": {`{"failure":{"reason":"RegistryUnauthorized"}}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			soFar := common.Parameters{"workflow.name": "a-1"}
			if tt.report != "" {
				soFar["workflow.outputs.parameters.report"] = tt.report
			}
			spec := template(t).Spec
			i := slices.IndexFunc(spec.Templates, func(each wfv1.Template) bool { return each.Name == spec.Entrypoint })
			tries := expand(t, &spec.Templates[i], soFar)
			got, err := argoexpr.EvalBool(tries.RetryStrategy.Expression, env.GetFuncMap(map[string]any{"lastRetry.status": "Failed"}))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestAFailedBuildCanBeRetriedInArgo(t *testing.T) {
	for _, name := range []string{"failed-in-mount-check", "failed-after-tries"} {
		t.Run(name, func(t *testing.T) {
			wf := read[wfv1.Workflow](t, "../argo/testdata/"+name+".workflow.yaml")
			got, pods, err := util.FormulateRetryWorkflow(logged(t), wf, false, "", nil)
			require.NoError(t, err)
			assert.NotEmpty(t, pods, "the pods of the tries that failed are deleted")
			for _, node := range got.Status.Nodes {
				assert.False(t, node.FailedOrError(), node.Name)
			}
		})
	}
}
