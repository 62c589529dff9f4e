package workflow_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestPlatformTemplates(t *testing.T) {
	assert.Equal(t, []string{"modelkiln-build", "modelkiln-build-stream"}, workflow.PlatformTemplates(config.Default().Options()))
	assert.Equal(t, []string{"a", "b", "c"}, workflow.PlatformTemplates(workflow.Options{
		WorkflowTemplate: "b", NamespaceTemplates: map[string]string{"team-a": "a", "team-b": "b"}, NamespaceStreamTemplates: map[string]string{"team-a": "c", "team-b": ""},
	}))
}

func TestListDifferences(t *testing.T) {
	opts := config.Default().Options()
	opts.HostPaths.Allowed = []string{"/models", "/data"}
	opts.S3.Allowed = []string{"s3.amazonaws.com/models"}
	forEachTemplate(t, func(t *testing.T, shipped *wfv1.ClusterWorkflowTemplate) {
		tmpl := shipped.DeepCopy()
		assert.Empty(t, workflow.ListDifferences(tmpl, config.Default().Options()), "the shipped template and the default configuration agree")
		assert.Equal(t, []string{
			`--allowed-paths of mount-check in ClusterWorkflowTemplate ` + tmpl.Name + ` is "", and allowedHostPaths in the operator's configuration is "/data,/models": write the same list into both`,
			`--allowed-s3 of mount-check in ClusterWorkflowTemplate ` + tmpl.Name + ` is "", and allowedS3 in the operator's configuration is "s3.amazonaws.com/models": write the same list into both`,
		}, workflow.ListDifferences(tmpl, opts))

		setFlags(tmpl, map[string]string{"--allowed-paths": "/data,/models,/data", "--allowed-s3": "s3.amazonaws.com/models", "--denied-paths": "/secret", "--allowed-nfs": "nas", "--allowed-hugging-face": "huggingface.co"})
		differences := workflow.ListDifferences(tmpl, opts)
		assert.Len(t, differences, 3)
		for i, flag := range []string{"--denied-paths", "--allowed-nfs", "--allowed-hugging-face"} {
			assert.Contains(t, differences[i], flag+" of mount-check")
		}
	})
	t.Run("another template", func(t *testing.T) {
		assert.Empty(t, workflow.ListDifferences(&wfv1.ClusterWorkflowTemplate{Spec: wfv1.WorkflowSpec{Templates: []wfv1.Template{{Name: "a"}}}}, opts))
	})
}

// setFlags sets the flags of the step mount-check.
func setFlags(tmpl *wfv1.ClusterWorkflowTemplate, flags map[string]string) {
	for _, template := range tmpl.Spec.Templates {
		if template.ContainerSet == nil {
			continue
		}
		for _, container := range template.ContainerSet.Containers {
			for i, arg := range container.Args {
				name, _, _ := strings.Cut(arg, "=")
				if value, found := flags[name]; found && container.Name == contract.StepMountCheck {
					container.Args[i] = name + "=" + value
				}
			}
		}
	}
}
