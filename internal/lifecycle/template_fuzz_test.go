package lifecycle

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// A template yields either a ModelVersion of the workload's namespace that was
// trained by this workload, or a short message of one line.
func FuzzFromTemplate(f *testing.F) {
	for _, seed := range []string{
		templateSpec,
		`{"modelName":"resnet","imageRepo":"modelhub/resnet","storage":{"nfs":{"server":"s","path":"/p"}}}`,
		templateSpec + "createdBy: \"\\e[2J\"",
		"storage: {localStorage: {path: \"/etc/\\u009b2J\\u202e\"}}",
		templateSpec + "build: {resources: {limits: {cpu: 1e999}}, deadlineSeconds: 1, tolerations: [{key: a}]}",
		"a: &a aaaaaaaaaaaaaaaa\nb: [*a, *a, *a]\n",
		"storage: {localStorage: {path: /data}}\nmodelName: resnet\nimageRepo: r\n",
		"trainedBy: {kind: Job}",
		"- a", "null", "\x00", "!!binary a", "? {a: b}\n: c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		mv, problem := FromTemplate(jobWithTemplate(spec), workflow.Options{})
		if problem != nil {
			assert.Nil(t, mv)
			assert.Equal(t, EventRefused, problem.Reason)
			assert.LessOrEqual(t, utf8.RuneCountInString(problem.Message), 2*maxSentence)
			assert.Equal(t, text.Printable(problem.Message), problem.Message)
			return
		}
		assert.Equal(t, "team", mv.Namespace)
		assert.Equal(t, &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"}, mv.Spec.TrainedBy)
		raw, err := json.Marshal(mv)
		require.NoError(t, err)
		assert.Less(t, len(raw), 100*maxTemplate)
	})
}
