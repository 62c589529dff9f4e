package argo

import (
	"testing"

	"github.com/argoproj/argo-workflows/v3/util/expr/argoexpr"
	"github.com/argoproj/argo-workflows/v3/util/expr/env"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Argo says of a pod that failed (inferFailedReason in v3.7), and whether
// the template has it tried again.
func TestWhatPassesByItselfIsTriedAgain(t *testing.T) {
	const failed, erroneous = "Failed", "Error"
	tests := map[string]struct {
		status, message string
		want            bool
	}{
		"mount-check failed for what passes":     {failed, `build: Error (exit code 64): dependency "mount-check" exited with non-zero code: 75`, true},
		"the build failed for what passes":       {failed, `build: Error (exit code 75): RegistryUnreachable: the registry answers with the error 503`, true},
		"status-report failed for what passes":   {failed, `main: Error (exit code 64): dependency "status-report" exited with non-zero code: 75`, true},
		"the node is drained before the build":   {failed, "build: Error (exit code 143)", true},
		"the node is drained during mount-check": {failed, `build: Error (exit code 64): dependency "mount-check" exited with non-zero code: 143`, true},
		"the pod was deleted":                    {erroneous, "pod deleted", true},
		"Argo's own container failed":            {erroneous, "wait: Error (exit code 64): the API server does not answer", true},
		"the node shuts down":                    {failed, "Pod was terminated in response to imminent node shutdown.", true},
		"a critical pod took its place":          {failed, "Preempted in order to admit critical pod", true},
		"the node was full":                      {failed, "The node was low on resource: ephemeral-storage.", true},
		"mount-check failed":                     {failed, `build: Error (exit code 64): dependency "mount-check" exited with non-zero code: 1`, false},
		"the build failed":                       {failed, "build: Error (exit code 1): RegistryUnauthorized: the registry refused the image builder", false},
		"the build failed and quotes a code":     {failed, `build: Error (exit code 1): BuildFailed: it exited with non-zero code: 75`, false},
		"the build failed over a strange name":   {failed, "build: Error (exit code 1): SourceUnsafe: the link a (exit code 75) leads out", false},
		"status-report failed":                   {failed, `main: Error (exit code 64): dependency "status-report" exited with non-zero code: 1`, false},
		"the memory limit was too small":         {failed, "build: OOMKilled (exit code 137)", false},
		"the limit of ephemeral storage was":     {failed, "Pod ephemeral local storage usage exceeds the total limit of containers 200Mi. ", false},
		"the time is up":                         {failed, "Pod was active on the node longer than the specified deadline", false},
		"the pod could not be made as it is":     {erroneous, `Pod "a" is invalid: spec.containers[1].resources.requests: Invalid value: "1Gi"`, false},
		"Argo's own container lacked its memory": {erroneous, "wait: OOMKilled (exit code 137)", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := argoexpr.EvalBool(template(t).Spec.Templates[0].RetryStrategy.Expression, env.GetFuncMap(map[string]any{
				"retries": "0", "lastRetry.exitCode": "64", "lastRetry.duration": "3",
				"lastRetry.status": tt.status, "lastRetry.message": tt.message,
			}))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}
