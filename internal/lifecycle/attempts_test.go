package lifecycle

import (
	"encoding/json"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestReadAttempt(t *testing.T) {
	start := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	wf := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "mv-3-1c072-2", CreationTimestamp: start, Labels: map[string]string{v1alpha1.LabelAttempt: "2"}}}
	wf.Status = wfv1.WorkflowStatus{Phase: wfv1.WorkflowFailed, Message: "Stopped with strategy 'Terminate'", StartedAt: start, FinishedAt: metav1.NewTime(start.Add(time.Minute))}
	wf.Spec.WorkflowTemplateRef = &wfv1.WorkflowTemplateRef{Name: "modelkiln-build-stream", ClusterScope: true}
	wf.Status.Nodes = wfv1.Nodes{
		"a": {ID: "a", HostNodeName: "node-2"}, "b": {ID: "b", HostNodeName: "node-1"}, "c": {ID: "c", HostNodeName: "node-2"}, "d": {ID: "d"},
		"e": {ID: "e", HostNodeName: "\x1b[2J\nnode-0 is fine"},
		"f": {ID: "f", Type: wfv1.NodeTypePod, Phase: wfv1.NodeRunning, Progress: "58/93"},
	}
	raw, err := json.Marshal(wf)
	require.NoError(t, err)

	got, err := ReadAttempt(raw)
	require.NoError(t, err)
	assert.Equal(t, WorkflowOutcome(wf), got.Outcome)
	assert.Equal(t, v1alpha1.ReasonWorkflowTerminated, got.Reason)
	assert.Equal(t, "mv-3-1c072-2", got.Name)
	assert.Equal(t, int64(2), got.Number)
	assert.Equal(t, "modelkiln-build-stream", got.Template)
	assert.Equal(t, []int64{58, 93}, []int64{got.Done, got.Total})
	assert.Equal(t, start.Unix(), got.Start.Unix())
	assert.Equal(t, start.Unix()+60, got.End.Unix())
	assert.Equal(t, []string{"[2J node-0 is fine", "node-1", "node-2"}, got.Nodes, "users can write the status: a terminal gets no control characters of it")
}

func TestReadAttempt_invalid(t *testing.T) {
	_, err := ReadAttempt([]byte(`{"status": {"nodes": 7}}`))
	require.ErrorContains(t, err, "decode the Workflow")
}

func TestSortAttempts(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.Unix(seconds, 0) }
	attempts := []Attempt{{Name: "first", Number: 1, Start: at(10)}, {Name: "resubmitted", Number: 1, Start: at(30)}, {Name: "second", Number: 2, Start: at(10)}}
	SortAttempts(attempts)
	var names []string
	for _, attempt := range attempts {
		names = append(names, attempt.Name)
	}
	assert.Equal(t, []string{"resubmitted", "second", "first"}, names)
}
