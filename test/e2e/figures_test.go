//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// This runs alone, so that the times are one build's. They are logged and not
// checked: a machine that others use too is no stopwatch.
func TestHowLongABuildTakes(t *testing.T) {
	ns := live.namespace(t)
	small, large := newFolder(t), newFolder(t)
	small.random(t, "model.bin", 5_000_000)
	for _, name := range []string{"a.bin", "b.bin", "c.bin"} {
		large.random(t, name, 50_000_000/3)
	}
	for _, each := range []struct {
		name   string
		dir    folder
		engine v1alpha1.BuildEngine
	}{
		{"50-mb-in-3-files", large, v1alpha1.Kaniko},
		{"50-mb-in-3-files", large, v1alpha1.Stream},
		{"5-mb", small, v1alpha1.Kaniko},
		{"5-mb", small, v1alpha1.Stream},
	} {
		for i := range 3 {
			began := time.Now()
			name := fmt.Sprintf("%s-%s-%d", each.name, strings.ToLower(string(each.engine)), i)
			mv := live.built(t, makeVersion(name, ns, each.dir).Model(name).Engine(each.engine).New())
			t.Logf("figure: %s by %s: %.1f s from apply to Ready", each.name, each.engine, time.Since(began).Seconds())
			logSteps(t, live.workflow(t, mv), began)
		}
	}
}

// logSteps logs when each step of a Workflow ended.
func logSteps(t *testing.T, wf *wfv1.Workflow, began time.Time) {
	t.Helper()
	nodes := slices.SortedFunc(func(yield func(wfv1.NodeStatus) bool) {
		for _, node := range wf.Status.Nodes {
			if !yield(node) {
				return
			}
		}
	}, func(a, b wfv1.NodeStatus) int {
		return cmp.Or(a.FinishedAt.Compare(b.FinishedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	// Argo has all steps begin with the pod.
	for _, node := range nodes {
		t.Logf("    %-16s ended after %3.0f s", node.DisplayName, node.FinishedAt.Sub(began).Seconds())
	}
}
