package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
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
		"a program that has just ended": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Running",
				"containerStatuses": [{"name": "manager", "state": {"terminated": {"exitCode": 3}}}]}}]}`,
			want: "pod a: container manager ended with exit code 3",
		},
		"a pod that no node takes": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Pending",
				"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}}]}`,
			want: "pod a: no node takes it: 0/1 nodes are available",
		},
		"a program that is not ready yet": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Running",
				"containerStatuses": [{"name": "manager", "state": {"running": {}}}]}}]}`,
			want: "pod a: it runs but does not report that it is ready",
		},
		"only the pods that are not ready are named": {
			pods: `{"items": [{"metadata": {"name": "old"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
				{"metadata": {"name": "new"}, "status": {"phase": "Pending"}}]}`,
			want: "pod new: it is pending",
		},
		"all pods are ready, so that an old one is still ending": {
			pods: `{"items": [{"metadata": {"name": "a"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}]}`,
			want: "its pods are ready, and one of an earlier version still ends",
		},
		"no pods yet": {
			pods: `{"items": []}`,
			want: "it has no pods yet; the events of its ReplicaSet say why",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pods, err := parsePods(tt.pods)
			require.NoError(t, err)
			assert.Equal(t, tt.want, describe(pods))
		})
	}
}

func TestTheSelectorIsInKubectlsForm(t *testing.T) {
	got, err := parseSelector(`{"spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}}}}`)
	require.NoError(t, err)
	assert.Equal(t, "a=1,b=2", got)
}

func TestWhatKubectlDoesNotPrintIsAnError(t *testing.T) {
	_, err := parsePods("no JSON")
	require.Error(t, err)
	_, err = parseSelector("no JSON")
	require.Error(t, err)
}
