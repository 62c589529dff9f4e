package controller

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestDecodeWorkflow(t *testing.T) {
	many := map[string]any{}
	for i := range maxWorkflowNodes + 1 {
		many[fmt.Sprint(i)] = map[string]any{}
	}
	for name, tc := range map[string]struct {
		object  map[string]any
		wantErr string
	}{
		"a Workflow":                  {map[string]any{"metadata": map[string]any{"name": "a"}, "status": map[string]any{"phase": "Running"}}, ""},
		"a number that is text":       {map[string]any{"spec": map[string]any{"activeDeadlineSeconds": "600"}}, "activeDeadlineSeconds"},
		"nodes that are a list":       {map[string]any{"status": map[string]any{"nodes": []any{}}}, "nodes"},
		"a status that is text":       {map[string]any{"status": "Running"}, "status"},
		"more nodes than are decoded": {map[string]any{"status": map[string]any{"nodes": many}}, "it has 2001 nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			wf, err := decodeWorkflow(&unstructured.Unstructured{Object: tc.object})
			if tc.wantErr == "" {
				require.NoError(t, err)
				assert.Equal(t, "a", wf.Name)
				return
			}
			var invalid errInvalidWorkflow
			require.ErrorAs(t, err, &invalid)
			assert.ErrorContains(t, err, tc.wantErr)
		})
	}
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
