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

// Whether the template has a try followed by another, as Argo finds that out
// (executeTemplate and processNodeRetries in v3.7): it puts the Workflow's
// outputs so far into the expression, and evaluates that.
func TestWhatPassesByItselfIsTriedAgain(t *testing.T) {
	const failed, erroneous = "Failed", "Error"
	const (
		passes = `{"failure":{"step":"build","reason":"RegistryUnreachable","message":"the registry responded with the error 503","transient":true}}`
		stays  = `{"failure":{"step":"build","reason":"RegistryUnauthorized","message":"the registry refused the image builder"}}`
		quotes = `{"failure":{"step":"build","reason":"SourceUnsafe","message":"the link \"transient\":true leads out of {{=true}} it"}}`
	)
	tests := map[string]struct {
		status string
		report string
		want   bool
	}{
		"a step failed for what passes":            {failed, passes, true},
		"the pod was lost":                         {erroneous, "", true},
		"the pod was lost after a try that passes": {erroneous, passes, true},
		"a step failed for what a person mends":    {failed, stays, false},
		"a step failed and quotes the report":      {failed, quotes, false},
		"the memory limit was too small":           {failed, `{"source":{"files":7}}`, false},
		"the pod was told to end before any step":  {failed, "", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			soFar := common.Parameters{"workflow.name": "a-1"}
			if tt.report != "" {
				soFar["workflow.outputs.parameters.report"] = tt.report
			}
			tries, err := expand(entrypoint(t), soFar)
			require.NoError(t, err)
			got, err := argoexpr.EvalBool(tries.RetryStrategy.Expression, env.GetFuncMap(map[string]any{
				"retries": "0", "lastRetry.exitCode": "0", "lastRetry.duration": "3", "lastRetry.message": "",
				"lastRetry.status": tt.status,
			}))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

// entrypoint is the template that the build begins with.
func entrypoint(t *testing.T) *wfv1.Template {
	t.Helper()
	spec := template(t).Spec
	i := slices.IndexFunc(spec.Templates, func(each wfv1.Template) bool { return each.Name == spec.Entrypoint })
	require.NotEqual(t, -1, i)
	return &spec.Templates[i]
}

// What argo retry and the UI's Retry do, to Workflows as Argo v3.7 left them.
// Argo panics when the pod itself is the try: it looks for the tries of each
// container that failed.
func TestAFailedBuildCanBeRetriedInArgo(t *testing.T) {
	for _, name := range []string{"failed-in-mount-check", "failed-after-tries"} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", name+".workflow.yaml"))
			require.NoError(t, err)
			var wf wfv1.Workflow
			require.NoError(t, yaml.UnmarshalStrict(raw, &wf))

			got, pods, err := util.FormulateRetryWorkflow(t.Context(), &wf, false, "", nil)
			require.NoError(t, err)
			assert.Equal(t, wfv1.WorkflowRunning, got.Status.Phase)
			assert.NotEmpty(t, pods, "the pods of the tries that failed are deleted")
			for _, node := range got.Status.Nodes {
				assert.False(t, node.FailedOrError(), node.Name)
			}
		})
	}
}
