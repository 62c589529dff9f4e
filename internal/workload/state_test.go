package workload

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// object returns a workload with a status.
func object(t *testing.T, status string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte("{metadata: {name: train}, status: " + status + "}"))
	require.NoError(t, err)
	o := &unstructured.Unstructured{}
	require.NoError(t, json.Unmarshal(raw, &o.Object))
	return o
}

func kindOf(group, kind string) Kind {
	return Kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}}
}

func TestStateOf(t *testing.T) {
	job, workflow := kindOf("batch", "Job"), kindOf("argoproj.io", "Workflow")
	run, ray := kindOf("tekton.dev", "PipelineRun"), kindOf("ray.io", "RayJob")
	spark, volcano := kindOf("sparkoperator.k8s.io", "SparkApplication"), kindOf("batch.volcano.sh", "Job")
	for name, tt := range map[string]struct {
		kind        Kind
		status      string
		want        State
		wantMessage string
	}{
		"a Job that runs":                          {job, "{active: 1}", Running, ""},
		"a Job that completed":                     {job, `{conditions: [{type: SuccessCriteriaMet, status: "True"}, {type: Complete, status: "True"}]}`, Completed, ""},
		"a Job that failed":                        {job, `{conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded, message: "Job has reached\nthe limit."}]}`, Failed, "BackoffLimitExceeded: Job has reached the limit"},
		"a Job that has not failed":                {job, `{conditions: [{type: Failed, status: "False"}, {type: Complete, status: "True"}]}`, Completed, ""},
		"failed after completed":                   {job, `{conditions: [{type: Completed, status: "True"}, {type: Failed, status: "True", reason: Error}]}`, Failed, "Error"},
		"failed before completed":                  {job, `{conditions: [{type: Failed, status: "True", reason: Error}, {type: Completed, status: "True"}]}`, Failed, "Error"},
		"completed in a phase that failed":         {job, `{phase: Failed, message: no disk, conditions: [{type: Completed, status: "True"}]}`, Failed, "Failed: no disk"},
		"a JobSet in a terminal state that failed": {kindOf("jobset.x-k8s.io", "JobSet"), `{terminalState: Failed, conditions: [{type: Completed, status: "True"}]}`, Failed, "Failed"},
		"a Trial that was killed":                  {kindOf("kubeflow.org", "Trial"), `{conditions: [{type: Killed, status: "True", reason: TrialKilled}]}`, Failed, "TrialKilled"},

		"a Workflow that runs":                  {workflow, "{phase: Running}", Running, ""},
		"a Workflow that succeeded":             {workflow, `{phase: Succeeded, conditions: [{type: Completed, status: "True"}]}`, Completed, ""},
		"a Workflow that failed":                {workflow, `{phase: Failed, message: child failed, conditions: [{type: Completed, status: "True"}]}`, Failed, "Failed: child failed"},
		"a Workflow with an error":              {workflow, `{phase: Error, conditions: [{type: Completed, status: "True"}]}`, Failed, "Error"},
		"a Workflow without a phase":            {workflow, `{conditions: [{type: Completed, status: "True"}]}`, Running, ""},
		"a Workflow in an unknown phase":        {workflow, "{phase: Suspended}", Running, ""},
		"a PipelineRun that starts":             {run, `{conditions: [{type: Succeeded, status: Unknown, reason: Started}]}`, Running, ""},
		"a PipelineRun that runs":               {run, `{conditions: [{type: Succeeded, status: Unknown, reason: Running}]}`, Running, ""},
		"a PipelineRun that is False and runs":  {run, `{conditions: [{type: Succeeded, status: "False", reason: Running}]}`, Running, ""},
		"a PipelineRun that is False and pends": {run, `{conditions: [{type: Succeeded, status: "False", reason: Pending}]}`, Running, ""},
		"a PipelineRun that succeeded":          {run, `{conditions: [{type: Succeeded, status: "True", reason: Completed}]}`, Completed, ""},
		"a PipelineRun that failed":             {run, `{conditions: [{type: Succeeded, status: "False", reason: PipelineRunTimeout, message: took too long}]}`, Failed, "PipelineRunTimeout: took too long"},
		"a TaskRun that was cancelled":          {kindOf("tekton.dev", "TaskRun"), `{conditions: [{type: Succeeded, status: "False", reason: TaskRunCancelled}]}`, Failed, "TaskRunCancelled"},
		"a RayJob that starts":                  {ray, "{jobDeploymentStatus: Initializing}", Running, ""},
		"a RayJob that succeeded":               {ray, "{jobStatus: SUCCEEDED, jobDeploymentStatus: Complete}", Completed, ""},
		"a RayJob that failed":                  {ray, "{jobStatus: FAILED, jobDeploymentStatus: Failed, reason: AppFailed, message: exit 1}", Failed, "Failed: AppFailed: exit 1"},
		"a RayJob of an older release":          {ray, "{jobStatus: FAILED}", Failed, "FAILED"},
		"a RayJob that was stopped":             {ray, "{jobStatus: STOPPED, jobDeploymentStatus: Complete}", Failed, "STOPPED"},
		"a RayJob that is tried again":          {ray, "{jobStatus: FAILED, jobDeploymentStatus: Retrying}", Running, ""},
		"a RayJob whose cluster failed":         {ray, "{jobStatus: SUCCEEDED, jobDeploymentStatus: Failed}", Failed, "Failed"},
		"a SparkApplication that runs":          {spark, "{applicationState: {state: RUNNING}}", Running, ""},
		"a SparkApplication that completed":     {spark, "{applicationState: {state: COMPLETED}}", Completed, ""},
		"a SparkApplication that failed":        {spark, "{applicationState: {state: FAILED, errorMessage: driver failed}}", Failed, "FAILED: driver failed"},
		"a SparkApplication submitted again":    {spark, "{applicationState: {state: SUBMISSION_FAILED}}", Running, ""},
		"a SparkApplication of an odd status":   {spark, "{applicationState: COMPLETED}", Running, ""},
		"a Volcano Job that completed":          {volcano, "{state: {phase: Completed}}", Completed, ""},
		"a Volcano Job that is aborted":         {volcano, "{state: {phase: Aborted, reason: user}}", Failed, "Aborted: user"},
		"a Volcano Job that ends":               {volcano, "{state: {phase: Completing}}", Running, ""},
		"an AppWrapper that succeeded":          {kindOf("workload.codeflare.dev", "AppWrapper"), "{phase: Succeeded}", Completed, ""},
		"a training in SageMaker":               {kindOf("sagemaker.services.k8s.aws", "TrainingJob"), "{trainingJobStatus: Stopped, failureReason: limit}", Failed, "Stopped: limit"},
		"a Job of another group":                {volcano, `{conditions: [{type: Complete, status: "True"}]}`, Running, ""},
	} {
		t.Run(name, func(t *testing.T) {
			state, message := tt.kind.StateOf(object(t, tt.status))
			assert.Equal(t, tt.want, state)
			assert.Equal(t, tt.wantMessage, message)
		})
	}
}

// The controller of a workload can write anything into its status.
func TestStateOfOddStatus(t *testing.T) {
	for name, status := range map[string]string{
		"no status":                  "null",
		"a status that is a list":    "[phase]",
		"no conditions":              "{}",
		"a phase that is a number":   "{phase: 3, jobStatus: 4}",
		"conditions that are a text": "{conditions: Complete}",
		"a condition that is a text": "{conditions: [Complete]}",
		"a condition that is false":  `{conditions: [{type: Failed, status: "False"}]}`,
		"a status that is a boolean": "{conditions: [{type: Complete, status: true}, {type: Succeeded, status: true}]}",
		"a state that is a list":     "{state: [Completed], applicationState: [COMPLETED]}",
	} {
		t.Run(name, func(t *testing.T) {
			for kind := range knownRules {
				state, message := kindOf(kind.Group, kind.Kind).StateOf(object(t, status))
				assert.Equal(t, Running, state, kind)
				assert.Empty(t, message)
			}
		})
	}
}

func TestTrainingKindsAreKnown(t *testing.T) {
	for _, kind := range TrainingKinds() {
		assert.True(t, kind.IsKnown(), kind)
	}
	assert.False(t, kindOf("apps", "Deployment").IsKnown())
	assert.False(t, kindOf("leaderworkerset.x-k8s.io", "LeaderWorkerSet").IsKnown(), "it never ends")
	assert.True(t, slices.ContainsFunc(TrainingKinds(), func(k Kind) bool { return k.Kind == "TrainJob" }))
}
