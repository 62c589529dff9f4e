// Package argo runs Argo's own code over the workflow templates and over the
// Workflows that the operator makes from them. It is a module of its own, so
// that the operator does not depend on what Argo's controller depends on.
package argo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const goldenFolder = "../../internal/translate/testdata/workflow"

func TestArgoAcceptsTheTemplate(t *testing.T) {
	err := validate.ValidateClusterWorkflowTemplate(nil, templates{}, template(t), nil, validate.ValidateOpts{Lint: true})
	require.NoError(t, err)
}

func TestArgoAcceptsEveryWorkflowTheOperatorMakes(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			err := validate.ValidateWorkflow(nil, templates{template(t)}, wf, nil, validate.ValidateOpts{})
			require.NoError(t, err)
		})
	}
}

// Under Strict and Secure template referencing, Argo allows a Workflow with a
// reference little more than arguments.
func TestArgoAcceptsEveryWorkflowUnderStrictReferencing(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, util.ValidateUserOverrides(&wf.Spec))
		})
	}
}

func TestArgumentsBecomeThePodThatTheyName(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			got := pod(t, arguments(wf))
			raw, err := yaml.Marshal(got)
			require.NoError(t, err)
			golden(t, filepath.Join("testdata", name+".pod.yaml"), raw)
		})
	}
}

// A person may start a build without the operator, with any strings: none of
// them may change more of the pod than the place it is meant for.
func TestNoArgumentLeavesItsPlace(t *testing.T) {
	attempts := []string{
		`/foo","type":""}`,
		`'] } } }) == '' ? {} : {}`,
		`" + workflow.uid + "`,
		"/foo\n- name: evil",
		`\u0022,\u0022privileged\u0022:true`,
		`$(cat /etc/passwd)`,
		"`id`",
		`a=b","privileged":"true`,
	}
	plain := arguments(&wfv1.Workflow{})
	plain["image"] = "registry.example.com/resnet:v1"
	plain["storage-kind"] = "localStorage"
	plain["storage-path"] = "/plain"
	plain["node-name"] = "plain"

	for _, parameter := range []string{"storage-path", "node-name"} {
		for _, attempt := range attempts {
			t.Run(parameter+" "+attempt, func(t *testing.T) {
				hostile := arguments(&wfv1.Workflow{})
				for key, value := range plain {
					hostile[key] = value
				}
				hostile[parameter] = attempt

				want := marshal(t, pod(t, plain))
				got := marshal(t, replaced(pod(t, hostile), attempt))
				assert.Equal(t, want, got)
			})
		}
	}
}

// replaced puts "plain" back where the attempt belongs, and nowhere else.
func replaced(spec *corev1.PodSpec, attempt string) *corev1.PodSpec {
	for i := range spec.Volumes {
		if source := spec.Volumes[i].HostPath; source != nil && source.Path == attempt {
			source.Path = "/plain"
		}
	}
	if spec.Affinity != nil {
		values := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values
		if len(values) == 1 && values[0] == attempt {
			values[0] = "plain"
		}
	}
	for i := range spec.Containers {
		for j, arg := range spec.Containers[i].Args {
			if arg == "--storage-path="+attempt {
				spec.Containers[i].Args[j] = "--storage-path=/plain"
			}
		}
	}
	return spec
}

// pod is the part of the build pod that depends on arguments: the template as
// Argo processes it, with its volumes and containers, and its patch applied as
// Argo applies it.
func pod(t *testing.T, args common.Parameters) *corev1.PodSpec {
	t.Helper()
	build := template(t).Spec.Templates[0]
	processed, err := common.ProcessArgs(&build, &wfv1.Arguments{}, args, common.Parameters{}, false, "default", nil)
	require.NoError(t, err)

	spec := corev1.PodSpec{Volumes: processed.Volumes}
	for _, node := range processed.ContainerSet.Containers {
		spec.Containers = append(spec.Containers, node.Container)
	}
	patched, err := util.ApplyPodSpecPatch(spec, processed.PodSpecPatch)
	require.NoError(t, err)
	return patched
}

// arguments are the global parameters that Argo makes of a Workflow's
// arguments and of the template's defaults.
func arguments(wf *wfv1.Workflow) common.Parameters {
	args := common.Parameters{"workflow.uid": "11111111-2222-3333-4444-555555555555"}
	raw, err := os.ReadFile(templateFile)
	if err != nil {
		panic(err)
	}
	var tmpl wfv1.ClusterWorkflowTemplate
	if err := yaml.UnmarshalStrict(raw, &tmpl); err != nil {
		panic(err)
	}
	for _, list := range [][]wfv1.Parameter{tmpl.Spec.Arguments.Parameters, wf.Spec.Arguments.Parameters} {
		for _, parameter := range list {
			if parameter.Value != nil {
				args["workflow.parameters."+parameter.Name] = parameter.Value.String()
			}
		}
	}
	return args
}

const templateFile = "../../workflow-templates/modelkiln-build.yaml"

func template(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	var tmpl wfv1.ClusterWorkflowTemplate
	unmarshal(t, templateFile, &tmpl)
	return &tmpl
}

func goldenWorkflows(t *testing.T) map[string]*wfv1.Workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldenFolder, "*.workflow.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	workflows := map[string]*wfv1.Workflow{}
	for _, file := range files {
		var wf wfv1.Workflow
		unmarshal(t, file, &wf)
		workflows[strings.TrimSuffix(filepath.Base(file), ".workflow.yaml")] = &wf
	}
	return workflows
}

func unmarshal(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into))
}

func marshal(t *testing.T, value any) string {
	t.Helper()
	raw, err := yaml.Marshal(value)
	require.NoError(t, err)
	return string(raw)
}
