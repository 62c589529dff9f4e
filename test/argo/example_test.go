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

// scanTemplate returns the template with the patch of the example scan.yaml.
func scanTemplate(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	tmpl := patched(t, templateFile, "../../workflow-templates/examples/scan.yaml")
	require.Equal(t, "modelkiln-build-scanned", tmpl.Name)
	return tmpl
}

func TestScanExampleIsValid(t *testing.T) {
	tmpl := scanTemplate(t)
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
			assert.Equal(t, marshal(t, want), marshal(t, got), "the other steps do not change")
		})
	}
}

// The steps package what Argo has downloaded, and nothing else is mounted.
func TestArtifactExampleIsValid(t *testing.T) {
	tmpl := patched(t, templateFile, "../../workflow-templates/examples/artifact.yaml")
	require.NoError(t, validate.ValidateClusterWorkflowTemplate(nil, templates{}, tmpl, nil, validate.ValidateOpts{Lint: true}))
	wf := &wfv1.Workflow{}
	wf.Spec.Arguments.Parameters = []wfv1.Parameter{{Name: "image", Value: wfv1.AnyStringPtr("registry.example.com/resnet:v1")}, {Name: "file", Value: wfv1.AnyStringPtr("resnet/1.tar.gz")}}
	got, err := pod(tmpl, arguments(t, wf))
	require.NoError(t, err)
	assert.NotNil(t, source(t, got).EmptyDir)
	assert.Contains(t, mountCheck(t, got).Args, "--storage-kind=persistentVolumeClaim")
	assert.Contains(t, mountCheck(t, got).Args, "--sub-path=model")
	assert.Contains(t, mountCheck(t, got).Args, "--source=/artifact")
	// Argo has all containers mount these, and its own as well.
	assert.Contains(t, tmpl.Spec.Templates[0].ContainerSet.VolumeMounts, corev1.VolumeMount{Name: "artifact", MountPath: "/artifact"})
}

// The scan runs after status-report has verified the image. A failed scan fails
// the pod, like any other container.
func TestScanExampleRunsAfterTheVerification(t *testing.T) {
	set := scanTemplate(t).Spec.Templates[0].ContainerSet
	dependencies := map[string][]string{}
	for _, c := range set.Containers {
		dependencies[c.Name] = c.Dependencies
	}
	assert.Equal(t, map[string][]string{
		"mount-check":   nil,
		"build":         {"mount-check"},
		"status-report": {"build"},
		"scan":          {"status-report"},
		"main":          nil,
	}, dependencies)
	assert.Equal(t, template(t).Spec.Templates[0].Outputs, scanTemplate(t).Spec.Templates[0].Outputs)
}

// A scanner is a third-party program. It can read the registry credentials, but
// does not mount the model's directory and does not run as root.
func TestScanExampleHasLeastPrivileges(t *testing.T) {
	for _, c := range scanTemplate(t).Spec.Templates[0].ContainerSet.Containers {
		if c.Name != "scan" {
			continue
		}
		assert.Len(t, c.Command, 1, "without a command, Argo would look it up in the image's registry")
		assert.Equal(t, []corev1.VolumeMount{{Name: "push-secret", MountPath: "/push-secret", ReadOnly: true}}, c.VolumeMounts)
		assert.True(t, *c.SecurityContext.RunAsNonRoot)
		assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
	}
}

// parameterRow matches a row of the README's table of parameters.
var parameterRow = regexp.MustCompile("(?m)^\\| ((?:`[a-z-]+`(?:, )?)+) \\| .* \\| (yes )?\\|$")

// Authors of templates read the README, not the Go code.
func TestREADMEListsTheParameters(t *testing.T) {
	raw, err := os.ReadFile("../../workflow-templates/README.md")
	require.NoError(t, err)
	var listed, always []string
	for _, row := range parameterRow.FindAllStringSubmatch(string(raw), -1) {
		names := strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")
		listed = append(listed, names...)
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
	assert.ElementsMatch(t, declared, listed)
	for name, wf := range goldenWorkflows(t) {
		for _, parameter := range always {
			assert.NotNil(t, wf.Spec.Arguments.GetParameterByName(parameter), "%s: %s", name, parameter)
		}
	}
}
