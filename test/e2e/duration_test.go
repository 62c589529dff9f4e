//go:build e2e

package e2e

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// This test runs alone, so that it measures one build at a time. It logs the
// times and does not check them, since other processes use the machine too.
func TestBuildDuration(t *testing.T) {
	ns := live.namespace(t)
	dir := newDirectory(t)
	for _, name := range []string{"a.bin", "b.bin", "c.bin"} {
		dir.random(t, name, 50_000_000/3)
	}
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		began := time.Now()
		name := strings.ToLower(string(engine))
		mv := live.built(t, makeVersion(name, ns, dir).Model(name).Engine(engine).New())
		t.Logf("figure: 50 MB in 3 files by %s: %.1f s from apply to Ready", engine, time.Since(began).Seconds())
		logSteps(t, live.workflow(t, mv), began)
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
	// For Argo, all steps begin with the pod.
	for _, node := range nodes {
		t.Logf("    %-16s ended after %3.0f s", node.DisplayName, node.FinishedAt.Sub(began).Seconds())
	}
}
