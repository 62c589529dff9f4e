package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestDecodeWorkflow(t *testing.T) {
	many := func(n int, value string) string { return strings.Repeat(value+",", n-1) + value }
	var nodes []string
	for i := range maxWorkflowNodes + 1 {
		nodes = append(nodes, fmt.Sprintf(`"%d":{}`, i))
	}
	for name, tc := range map[string]struct {
		content, wantErr string
	}{
		"a Workflow":                        {`{"metadata":{"name":"a"},"status":{"phase":"Running"}}`, ""},
		"a number that is text":             {`{"spec":{"activeDeadlineSeconds":"600"}}`, "activeDeadlineSeconds"},
		"nodes that are a list":             {`{"status":{"nodes":[]}}`, "nodes"},
		"a status that is text":             {`{"status":"Running"}`, "status"},
		"more nodes than are read":          {`{"status":{"nodes":{` + strings.Join(nodes, ",") + `}}}`, "it has 2001 nodes, and at most 2000 are read"},
		"a long text":                       {`{"status":{"message":"` + strings.Repeat("a", maxWorkflowBytes) + `"}}`, "and at most 1048576 are read"},
		"items that are larger when read":   {`{"spec":{"templates":[` + many(50_000, "{}") + `]}}`, "fields and list items, and at most 60000 are read"},
		"text that looks like many values":  {`{"metadata":{"name":"a"},"status":{"message":"` + many(50_000, `{\"[`) + `"}}`, ""},
		"text that ends in a backslash":     {`{"metadata":{"name":"a"},"status":{"message":"\\","x":[` + many(70_000, "1") + `]}}`, "and at most 60000 are read"},
		"fields that differ only in case":   {`{"metadata":{"name":"a"},"Spec":{"activeDeadlineSeconds":"600"}}`, ""},
		"stored templates are not returned": {`{"metadata":{"name":"a"},"status":{"storedTemplates":{"a":{}}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			budget := maxPassValues
			wf, err := decodeWorkflow([]byte(tc.content), &budget)
			if tc.wantErr == "" {
				require.NoError(t, err)
				assert.Equal(t, "a", wf.Name)
				assert.Empty(t, wf.Status.StoredTemplates)
				return
			}
			var invalid errInvalidWorkflow
			require.ErrorAs(t, err, &invalid)
			assert.ErrorContains(t, err, tc.wantErr)
		})
	}
}

func TestDecodeWorkflowsOfAPass(t *testing.T) {
	content := []byte(`{"status":{"conditions":[` + strings.Repeat("{},", 25_000) + `{}]}}`)
	budget := maxPassValues
	for range 2 {
		_, err := decodeWorkflow(content, &budget)
		require.NoError(t, err)
	}
	_, err := decodeWorkflow(content, &budget)
	assert.ErrorContains(t, err, "the Workflows of the ModelVersion together have more than 120000")
}

func TestReadingOrder(t *testing.T) {
	mv := &v1alpha1.ModelVersion{}
	names := map[string]bool{"a": true, "b": true, "c": true}
	assert.Equal(t, []string{"a", "b", "c"}, readingOrder(mv, names))
	mv.Status.Workflow = &v1alpha1.WorkflowStatus{Name: "b"}
	assert.Equal(t, []string{"b", "a", "c"}, readingOrder(mv, names))
	assert.Empty(t, readingOrder(mv, nil), "nothing else is read")
}

func TestRelevantWorkflows(t *testing.T) {
	mv := &v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "resnet-1"}}
	object := func(minute int, completed, version string) metav1.PartialObjectMetadata {
		name := fmt.Sprintf("wf-%02d", minute)
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), ResourceVersion: version, Labels: map[string]string{labelCompleted: completed},
			CreationTimestamp: metav1.NewTime(time.Unix(int64(60*minute), 0)),
		}}
	}
	names := func(list ...string) []string { return list }
	w := &workflowReader{}
	relevant := func(list ...metav1.PartialObjectMetadata) []string {
		return slices.Sorted(maps.Keys(w.relevant(mv, list)))
	}
	first, second, third := object(1, "true", "1"), object(2, "true", "2"), object(3, "true", "3")

	assert.Equal(t, names("wf-01", "wf-02", "wf-03"), relevant(first, second, third), "at the first pass, all")
	assert.Equal(t, names("wf-03"), relevant(first, second, third), "the newest")
	assert.Equal(t, names("wf-01", "wf-03"), relevant(object(1, "true", "4"), second, third), "one that has changed")
	assert.Equal(t, names("wf-01", "wf-03"), relevant(object(1, "false", "4"), second, third), "one that has not finished")
	mv.Status.Workflow = &v1alpha1.WorkflowStatus{Name: "wf-02"}
	assert.Equal(t, names("wf-02", "wf-03"), relevant(object(1, "true", "4"), second, third), "the one that the status names")

	w.forget(client.ObjectKeyFromObject(mv))
	var many []metav1.PartialObjectMetadata
	for minute := range 50 {
		many = append(many, object(minute, "false", "1"))
	}
	got := relevant(many...)
	assert.Len(t, got, maxWorkflowsRead, "a pass is bounded")
	assert.Contains(t, got, "wf-02", "with the one that the status names")
	assert.Contains(t, got, "wf-49", "and the newest")
}
