package argo

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// scanned is what the example makes of the template, patched as kustomize does.
func scanned(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	tmpl := patched(t, "../../workflow-templates/examples/scan.yaml")
	require.Equal(t, "modelkiln-build-scanned", tmpl.Name)
	return tmpl
}

func TestArgoAcceptsTheExampleWithTheOperatorsArguments(t *testing.T) {
	tmpl := scanned(t)
	require.NoError(t, validate.ValidateClusterWorkflowTemplate(nil, templates{}, tmpl, nil, validate.ValidateOpts{Lint: true}))
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			wf.Spec.WorkflowTemplateRef.Name = tmpl.Name
			require.NoError(t, validate.ValidateWorkflow(nil, templates{tmpl}, wf, nil, validate.ValidateOpts{}))

			got, err := pod(tmpl, arguments(t, wf))
			require.NoError(t, err)
			want, err := pod(template(t), arguments(t, wf))
			require.NoError(t, err)
			isScan := func(c corev1.Container) bool { return c.Name == "scan" }
			require.True(t, slices.ContainsFunc(got.Containers, isScan))
			got.Containers = slices.DeleteFunc(got.Containers, isScan)
			assert.Equal(t, marshal(t, want), marshal(t, got), "the other steps are as they were")
		})
	}
}

// What is scanned is whole, and the report says so by then. A scan that fails
// fails its pod, as any container of it does.
func TestTheExampleScansWhatWasVerifiedBeforeTheBuildHasSucceeded(t *testing.T) {
	set := scanned(t).Spec.Templates[0].ContainerSet
	dependencies := map[string][]string{}
	for _, c := range set.Containers {
		dependencies[c.Name] = c.Dependencies
	}
	assert.Equal(t, map[string][]string{
		"mount-check":   nil,
		"build":         {"mount-check"},
		"status-report": {"build"},
		"scan":          {"status-report"},
		"main":          {"mount-check"},
	}, dependencies)
	assert.Equal(t, template(t).Spec.Templates[0].Outputs, scanned(t).Spec.Templates[0].Outputs)
}

// A scanner is somebody else's program. Beside what all steps share, it gets the
// credentials to read, not the model's folder, and is not root.
func TestTheExamplesScannerGetsNoMoreThanItNeeds(t *testing.T) {
	for _, c := range scanned(t).Spec.Templates[0].ContainerSet.Containers {
		if c.Name != "scan" {
			continue
		}
		assert.Len(t, c.Command, 1, "Argo would ask the image's registry for a command")
		assert.Equal(t, []corev1.VolumeMount{{Name: "push-secret", MountPath: "/push-secret", ReadOnly: true}}, c.VolumeMounts)
		assert.True(t, *c.SecurityContext.RunAsNonRoot)
		assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
	}
}

// parameterRow is a row of the README's table of parameters.
var parameterRow = regexp.MustCompile("(?m)^\\| ((?:`[a-z-]+`(?:, )?)+) \\| .* \\| (yes )?\\|$")

// Who writes a template of their own reads the README and not Go.
func TestTheREADMENamesTheParametersThatComeIn(t *testing.T) {
	raw, err := os.ReadFile("../../workflow-templates/README.md")
	require.NoError(t, err)
	var named, always []string
	for _, row := range parameterRow.FindAllStringSubmatch(string(raw), -1) {
		names := strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")
		named = append(named, names...)
		if row[2] != "" {
			always = append(always, names...)
		}
	}
	var declared []string
	for _, parameter := range streamTemplate(t).Spec.Arguments.Parameters {
		declared = append(declared, parameter.Name)
		if parameter.Value == nil {
			assert.Contains(t, always, parameter.Name)
		}
	}
	assert.ElementsMatch(t, declared, named)
	for name, wf := range goldenWorkflows(t) {
		for _, parameter := range always {
			assert.NotNil(t, wf.Spec.Arguments.GetParameterByName(parameter), "%s: %s", name, parameter)
		}
	}
}
