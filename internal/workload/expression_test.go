package workload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// compiled returns an expression, or nil for none.
func compiled(t *testing.T, source string) *Expression {
	t.Helper()
	if source == "" {
		return nil
	}
	e, err := NewExpression(source)
	require.NoError(t, err)
	return e
}

func TestStateOfExpressions(t *testing.T) {
	const succeeded, failed = `status.state == "OK"`, `status.state == "BROKEN"`
	for name, tt := range map[string]struct {
		completed, failed, status string
		want                      State
		wantMessage               string
	}{
		"completed":                           {succeeded, failed, "{state: OK}", Completed, ""},
		"failed":                              {succeeded, failed, "{state: BROKEN, reason: Disk, message: it is full.}", Failed, "Disk: it is full"},
		"neither":                             {succeeded, failed, "{state: NEW}", Running, ""},
		"both":                                {"true", "true", "{}", Failed, ""},
		"the whole workload":                  {`object.metadata.name == "train"`, "false", "{}", Completed, ""},
		"a field that may be missing":         {`status.?state.orValue("") == "OK"`, "has(status.error)", "{}", Running, ""},
		"a field that is missing":             {succeeded, "false", "{}", Running, "the expression completed of trainingKinds fails: no such key: state"},
		"no status":                           {succeeded, failed, "null", Running, "the expression failed of trainingKinds fails: no such key: state"},
		"whether it failed is not known":      {"true", failed, "{}", Running, "the expression failed of trainingKinds fails: no such key: state"},
		"of another type":                     {"status.state", "false", "{state: OK}", Running, "the expression completed of trainingKinds has a value of type string and not true or false"},
		"completed, and nothing about failed": {succeeded, "", "{state: OK}", Completed, ""},
		"the condition Failed":                {succeeded, "", `{state: OK, conditions: [{type: Failed, status: "True", reason: Node}]}`, Failed, "Node"},
		"the phase Error":                     {succeeded, "", "{state: OK, phase: Error}", Failed, "Error"},
		"too expensive":                       {"status.list.all(a, status.list.all(b, status.list.all(c, a + b + c >= 0)))", "false", "{list: [" + strings.Repeat("1,", 200) + "1]}", Running, "the expression completed of trainingKinds fails: operation cancelled: actual cost limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			kind := kindOf("example.com", "TrainingRun")
			kind.Completed, kind.Failed = compiled(t, tt.completed), compiled(t, tt.failed)
			state, message := kind.StateOf(object(t, tt.status))
			assert.Equal(t, tt.want, state)
			assert.Equal(t, tt.wantMessage, message)
		})
	}
	t.Run("of a kind that is known", func(t *testing.T) {
		kind := kindOf("ray.io", "RayJob")
		kind.Completed = compiled(t, `status.jobStatus == "SUCCEEDED" && status.exported`)
		state, _ := kind.StateOf(object(t, "{jobStatus: SUCCEEDED, exported: false}"))
		assert.Equal(t, Running, state)
		state, _ = kind.StateOf(object(t, "{jobStatus: FAILED, exported: true}"))
		assert.Equal(t, Failed, state, "what is known of failures stays")
	})
}

// A user makes a workload as large as the API server takes it: an expression that
// compares all of it with itself costs only one step.
func TestStateOfLargeWorkload(t *testing.T) {
	kind := kindOf("example.com", "TrainingRun")
	kind.Completed = compiled(t, "object.spec == object.spec")
	for name, tt := range map[string]struct {
		values int
		want   State
	}{
		"small": {maxValues - 2, Completed},
		"large": {maxValues - 1, Running},
	} {
		t.Run(name, func(t *testing.T) {
			list := make([]any, tt.values)
			workload := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"list": list}}}
			state, message := kind.StateOf(workload)
			assert.Equal(t, tt.want, state)
			assert.Equal(t, tt.want == Running, strings.HasSuffix(message, "is not evaluated: the workload has more than 5000 fields and list items"), message)
		})
	}
}

func TestNewExpression(t *testing.T) {
	for source, want := range map[string]string{
		"status.phase = 1":                   "is not valid CEL: ERROR: <input>:1:14: Syntax error",
		"self.done":                          "undeclared reference to 'self'",
		"1":                                  "has a value of type int: write a condition",
		strings.Repeat(" ", maxExpression+1): "has 4097 bytes, and may have 4096",
		"":                                   "is not valid CEL",
		strings.Repeat("!(", 400) + "true":   "is not valid CEL",
	} {
		_, err := NewExpression(source)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "\n")
	}
	var e Expression
	require.ErrorContains(t, json.Unmarshal([]byte("3"), &e), "cannot unmarshal number")
	require.NoError(t, json.Unmarshal([]byte(`"status.done"`), &e))
	raw, err := json.Marshal(&e)
	require.NoError(t, err)
	assert.JSONEq(t, `"status.done"`, string(raw))
}
