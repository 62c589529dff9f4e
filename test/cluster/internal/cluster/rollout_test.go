package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDescribePods(t *testing.T) {
	tests := map[string]struct {
		pods string
		want string
	}{
		"a pod whose image is missing": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Pending",
				"conditions": [{"type": "Ready", "status": "False"}],
				"containerStatuses": [{"name": "manager", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}}]}`,
			want: "pod a: ErrImagePull: not found",
		},
		"a reason without a message": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Pending",
				"containerStatuses": [{"name": "manager", "state": {"waiting": {"reason": "ContainerCreating"}}}]}}]}`,
			want: "pod a: ContainerCreating",
		},
		"a terminated container": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Running",
				"containerStatuses": [{"name": "manager", "state": {"terminated": {"exitCode": 3}}}]}}]}`,
			want: "pod a: container manager terminated with exit code 3",
		},
		"an unschedulable pod": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Pending",
				"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}}]}`,
			want: "pod a: not scheduled: 0/1 nodes are available",
		},
		"a running container that is not ready": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Running",
				"containerStatuses": [{"name": "manager", "state": {"running": {}}}]}}]}`,
			want: "pod a: running but not ready",
		},
		"a ready pod is not listed": {
			pods: `{"items": [{"metadata": {"name": "old"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
				{"metadata": {"name": "new"}, "status": {"phase": "Pending"}}]}`,
			want: "pod new: pending",
		},
		"all pods are ready": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}]}`,
			want: "its pods are ready; a pod of an earlier revision is still terminating",
		},
		"no pods yet": {
			pods: `{"items": []}`,
			want: "it has no pods yet; see the events of its ReplicaSet",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pods, err := parsePods(tt.pods)
			require.NoError(t, err)
			assert.Equal(t, tt.want, describePods(pods))
		})
	}
}

func TestParseSelector(t *testing.T) {
	got, err := parseSelector(`{"spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}}}}`)
	require.NoError(t, err)
	assert.Equal(t, "a=1,b=2", got)
}

func TestParseInvalidJSON(t *testing.T) {
	_, err := parsePods("no JSON")
	require.Error(t, err)
	_, err = parseSelector("no JSON")
	require.Error(t, err)
}
