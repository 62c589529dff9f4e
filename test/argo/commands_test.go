package argo

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The Workflows that `argo retry` and `argo resubmit` write, from Argo's own code.
// The integration tests send them to an API server with the policies of
// deploy/policy/workflows: Argo's code has too many dependencies for their module.
func TestCommands(t *testing.T) {
	commands := map[string]func(t *testing.T, wf *wfv1.Workflow) *wfv1.Workflow{
		"retry": func(t *testing.T, wf *wfv1.Workflow) *wfv1.Workflow {
			t.Helper()
			retried, _, err := util.FormulateRetryWorkflow(t.Context(), wf, false, "", nil)
			require.NoError(t, err)
			return retried
		},
		"resubmit": func(t *testing.T, wf *wfv1.Workflow) *wfv1.Workflow {
			t.Helper()
			copied, err := util.FormulateResubmitWorkflow(t.Context(), wf, false, nil)
			require.NoError(t, err)
			return copied
		},
		"resubmit-memoized": func(t *testing.T, wf *wfv1.Workflow) *wfv1.Workflow {
			t.Helper()
			copied, err := util.FormulateResubmitWorkflow(t.Context(), wf, true, nil)
			require.NoError(t, err)
			return copied
		},
	}
	for _, recorded := range []string{"failed-in-mount-check", "failed-after-tries"} {
		for name, command := range commands {
			t.Run(recorded+"/"+name, func(t *testing.T) {
				raw, err := os.ReadFile(filepath.Join("testdata", recorded+".workflow.yaml"))
				require.NoError(t, err)
				var wf wfv1.Workflow
				require.NoError(t, yaml.UnmarshalStrict(raw, &wf))

				golden(t, filepath.Join("testdata", "commands", recorded+"."+name+".yaml"), reproducible(t, command(t, &wf)))
			})
		}
	}
}

// reproducible renders a Workflow without what differs between two calls of Argo's
// functions: the times, the random suffix of a name, and the hashes of it in the IDs
// of nodes.
func reproducible(t *testing.T, wf *wfv1.Workflow) []byte {
	t.Helper()
	fixed := metav1.NewTime(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))
	if !wf.Status.StartedAt.IsZero() {
		wf.Status.StartedAt = fixed
	}
	var replaced []string
	nodes := make([]wfv1.NodeStatus, 0, len(wf.Status.Nodes))
	for id, node := range wf.Status.Nodes {
		for _, at := range []*metav1.Time{&node.StartedAt, &node.FinishedAt} {
			if !at.IsZero() {
				*at = fixed
			}
		}
		wf.Status.Nodes.Set(id, node)
		nodes = append(nodes, node)
	}
	slices.SortFunc(nodes, func(a, b wfv1.NodeStatus) int { return strings.Compare(a.Name, b.Name) })
	if wf.GenerateName != "" && wf.Name != "" {
		fixedName := wf.GenerateName + "abcde"
		for i, node := range nodes {
			if node.ID != wf.Name {
				replaced = append(replaced, node.ID, fmt.Sprintf("%s-%d", fixedName, i))
			}
		}
		replaced = append(replaced, wf.Name, fixedName)
	}
	raw, err := yaml.Marshal(wf)
	require.NoError(t, err)
	// The keys of the nodes are sorted again.
	var object map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(strings.NewReplacer(replaced...).Replace(string(raw))), &object))
	raw, err = yaml.Marshal(object)
	require.NoError(t, err)
	return raw
}
