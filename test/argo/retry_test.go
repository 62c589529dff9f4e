package argo

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/expr/argoexpr"
	"github.com/argoproj/argo-workflows/v3/util/expr/env"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// The test evaluates the template's retry expression like Argo (executeTemplate
// and processNodeRetries in v3.7), which substitutes the Workflow's current
// outputs first.
func TestRetryStrategy(t *testing.T) {
	const failed, erroneous = "Failed", "Error"
	const (
		transient = `{"failure":{"step":"build","reason":"RegistryUnreachable","message":"the registry responded with the error 503","transient":true}}`
		permanent = `{"failure":{"step":"build","reason":"RegistryUnauthorized","message":"the registry denied access"}}`
		quoted    = `{"failure":{"step":"build","reason":"SourceUnsafe","message":"the link \"transient\":true points outside of {{=true}} it"}}`
	)
	tests := map[string]struct {
		status string
		report string
		want   bool
	}{
		"a transient failure":                               {failed, transient, true},
		"a lost pod":                                        {erroneous, "", true},
		"a lost pod after a transient failure":              {erroneous, transient, true},
		"a permanent failure":                               {failed, permanent, false},
		"a permanent failure whose message quotes a report": {failed, quoted, false},
		"an exceeded memory limit":                          {failed, `{"source":{"files":7}}`, false},
		"a pod that was terminated before the first step":   {failed, "", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			outputs := common.Parameters{"workflow.name": "a-1"}
			if tt.report != "" {
				outputs["workflow.outputs.parameters.report"] = tt.report
			}
			expanded, err := expand(entrypoint(t), outputs)
			require.NoError(t, err)
			got, err := argoexpr.EvalBool(expanded.RetryStrategy.Expression, env.GetFuncMap(map[string]any{
				"retries": "0", "lastRetry.exitCode": "0", "lastRetry.duration": "3", "lastRetry.message": "",
				"lastRetry.status": tt.status,
			}))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

// entrypoint returns the template's entrypoint.
func entrypoint(t *testing.T) *wfv1.Template {
	t.Helper()
	spec := template(t).Spec
	i := slices.IndexFunc(spec.Templates, func(each wfv1.Template) bool { return each.Name == spec.Entrypoint })
	require.NotEqual(t, -1, i)
	return &spec.Templates[i]
}

// The test runs the code of `argo retry` and of the UI's Retry button on
// Workflows that Argo v3.7 recorded. If the pod itself had the retry strategy,
// Argo would panic: it looks up the retry node of each failed container.
func TestFormulateRetryWorkflow(t *testing.T) {
	for _, name := range []string{"failed-in-mount-check", "failed-after-tries"} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", name+".workflow.yaml"))
			require.NoError(t, err)
			var wf wfv1.Workflow
			require.NoError(t, yaml.UnmarshalStrict(raw, &wf))

			got, pods, err := util.FormulateRetryWorkflow(t.Context(), &wf, false, "", nil)
			require.NoError(t, err)
			assert.Equal(t, wfv1.WorkflowRunning, got.Status.Phase)
			assert.NotEmpty(t, pods, "the pods of the failed attempts are deleted")
			for _, node := range got.Status.Nodes {
				assert.False(t, node.FailedOrError(), node.Name)
			}
		})
	}
}

// main also succeeds in a pod in which a step fails, in order to log the failure. Argo
// runs it again with the other containers of the next pod.
func TestFormulateRetryWorkflow_mainSucceeded(t *testing.T) {
	var wf wfv1.Workflow
	unmarshal(t, "testdata/failed-in-mount-check.workflow.yaml", &wf)
	var main, pod wfv1.NodeStatus
	for _, node := range wf.Status.Nodes {
		switch {
		case node.DisplayName == "main":
			main = node
		case node.Type == wfv1.NodeTypePod:
			pod = node
		}
	}
	for id, node := range wf.Status.Nodes {
		node.Children = slices.DeleteFunc(node.Children, func(child string) bool { return child == main.ID })
		if id == pod.ID {
			node.Children = append(node.Children, main.ID)
		}
		wf.Status.Nodes[id] = node
	}
	main.Phase, main.Message = wfv1.NodeSucceeded, ""
	wf.Status.Nodes[main.ID] = main

	got, pods, err := util.FormulateRetryWorkflow(t.Context(), &wf, false, "", nil)
	require.NoError(t, err)
	assert.Len(t, pods, 1)
	assert.NotContains(t, got.Status.Nodes, main.ID)
	assert.NotContains(t, got.Status.Nodes, pod.ID)
}
