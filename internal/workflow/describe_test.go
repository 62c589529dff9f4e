package workflow_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

const descriptionKey = "workflows.argoproj.io/description"

func TestDescribe(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").Obj()
	created, problem := workflow.New(mv, workflow.Attempt{Number: 1}, config.Default().Options())
	require.Nil(t, problem)
	created.ResourceVersion = "7"
	const details = ". Details: `kubectl describe mv -n default mv-3`"

	for name, tt := range map[string]struct{ message, want string }{
		"a message":                {"Step mount-check: /foo holds no file", "Failed with `SourceEmpty`: `Step mount-check: /foo holds no file`"},
		"a link":                   {"[a](https://example.com) ![b](https://example.com/b.png) <img src=x>", "Failed with `SourceEmpty`: `[a](https://example.com) ![b](https://example.com/b.png) <img src=x>`"},
		"code":                     {"the file `w.bin` ``` is empty", "Failed with `SourceEmpty`: `the file 'w.bin' ''' is empty`"},
		"an expression of Argo":    {"the file {{workflow.uid}} {{=1}}", "Failed with `SourceEmpty`: `the file { {workflow.uid} } { {=1} }`"},
		"three braces":             {"{{{x}}}", "Failed with `SourceEmpty`: `{ { {x} } }`"},
		"many braces":              {"{{{{{x", "Failed with `SourceEmpty`: `{ { { { {x`"},
		"several lines":            {"a\n\n# b\x1b[31m", "Failed with `SourceEmpty`: `a # b [31m`"},
		"a long message":           {strings.Repeat("é", 5000), "Failed with `SourceEmpty`: `" + strings.Repeat("é", 999) + "…`"},
		"braces at the cut":        {strings.Repeat("x", 998) + "{{", "Failed with `SourceEmpty`: `" + strings.Repeat("x", 998) + "{ {`"},
		"a backtick before braces": {"{`{", "Failed with `SourceEmpty`: `{'{`"},
	} {
		t.Run(name, func(t *testing.T) {
			got := workflow.Describe(mv, created, v1alpha1.ReasonSourceEmpty, tt.message)
			require.NotNil(t, got)
			assert.Equal(t, tt.want+details, got.Annotations[descriptionKey])
			assert.Equal(t, map[string]string{v1alpha1.LabelReason: v1alpha1.ReasonSourceEmpty}, got.Labels)
			assert.Equal(t, []string{created.Name, created.Namespace, "7"}, []string{got.Name, got.Namespace, got.ResourceVersion})
			assert.Nil(t, workflow.Describe(mv, described(created, got), v1alpha1.ReasonSourceEmpty, tt.message), "it is written once")
		})
	}
	t.Run("a Workflow that has not failed is left alone", func(t *testing.T) {
		assert.Nil(t, workflow.Describe(mv, created, "", ""))
		edited := created.DeepCopy()
		edited.Annotations[descriptionKey] = "mine"
		assert.Nil(t, workflow.Describe(mv, edited, "", ""))
	})
	t.Run("one that was retried gets its description back", func(t *testing.T) {
		failed := described(created, workflow.Describe(mv, created, v1alpha1.ReasonSourceEmpty, "no file"))
		got := workflow.Describe(mv, failed, "", "")
		require.NotNil(t, got)
		assert.Equal(t, map[string]string{v1alpha1.LabelReason: ""}, got.Labels)
		assert.Equal(t, created.Annotations[descriptionKey], got.Annotations[descriptionKey])
	})
	t.Run("the reason of a custom template is a label", func(t *testing.T) {
		got := workflow.Describe(mv, created, strings.Repeat("R", 128), "no")
		assert.Len(t, got.Labels[v1alpha1.LabelReason], 63)
	})
}

// described returns a Workflow with the metadata that Describe returned.
func described(wf, metadata *wfv1.Workflow) *wfv1.Workflow {
	wf = wf.DeepCopy()
	for name, value := range metadata.Labels {
		wf.Labels[name] = value
	}
	for name, value := range metadata.Annotations {
		wf.Annotations[name] = value
	}
	return wf
}
