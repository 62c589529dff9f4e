package workflow_test

import (
	"path/filepath"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/golden"
)

// The template for promotions and the operator agree on names. test/argo checks what its
// pod may do.
func TestContractPromote(t *testing.T) {
	var tmpl wfv1.ClusterWorkflowTemplate
	golden.ReadYAML(t, filepath.Join(templatesDir, "promote", "modelkiln-promote.yaml"), &tmpl)
	assert.Equal(t, contract.PromoteTemplate, tmpl.Name)
	assert.Equal(t, contract.BuildServiceAccount, tmpl.Spec.ServiceAccountName)

	var declared, required []string
	defaults := map[string]string{}
	for _, parameter := range tmpl.Spec.Arguments.Parameters {
		declared = append(declared, parameter.Name)
		assert.NotEmpty(t, parameter.Description, "%s: users see the description when they submit a promotion", parameter.Name)
		if parameter.Value == nil {
			required = append(required, parameter.Name)
		} else if value := parameter.Value.String(); value != "" {
			defaults[parameter.Name] = value
		}
	}
	var all wfv1.Workflow
	golden.ReadYAML(t, filepath.Join("testdata", "promotion", "every-setting.workflow.yaml"), &all)
	assert.ElementsMatch(t, declared, names(all), "parameters that the operator passes")
	assert.ElementsMatch(t, declared, usedParameters(t, &tmpl))
	var few wfv1.Workflow
	golden.ReadYAML(t, filepath.Join("testdata", "promotion", "defaults.workflow.yaml"), &few)
	assert.Subset(t, names(few), required)
	assert.Equal(t, map[string]string{contract.ParamPushSecret: contract.DefaultPushSecret, contract.ParamPushSecretRequired: "false"}, defaults)

	require.Contains(t, containers(t, &tmpl), contract.StepPromote)
	for name, c := range containers(t, &tmpl) {
		assert.Equal(t, []string{"/ko-app/modelkiln-step"}, c.Command, name)
		assert.NotContains(t, c.Image, "{{", "%s: users who can start a promotion must not choose its image", name)
		for i, arg := range c.Args {
			if i > 0 {
				assert.Regexp(t, `^--[a-z-]+=\{\{[^{}]*\}\}$`, arg, "a parameter can set the value of one flag, and nothing else")
			}
		}
	}
	assertArgumentsAccepted(t, &tmpl)
	assertReportOutput(t, &tmpl)
}

// names returns the names of a Workflow's arguments.
func names(wf wfv1.Workflow) []string {
	var all []string
	for _, parameter := range wf.Spec.Arguments.Parameters {
		all = append(all, parameter.Name)
	}
	return all
}
