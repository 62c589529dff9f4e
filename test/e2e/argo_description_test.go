//go:build e2e

package e2e

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Argo's UI and commands show why a build has failed, also in a namespace where only
// Argo's controller may report what a build has done.
func TestArgoSaysWhy(t *testing.T) {
	t.Parallel()
	ns := live.reservedNamespace(t)
	dir := newDirectory(t)
	failed, _ := live.failed(t, makeVersion("empty", ns, dir).Model("empty").New())
	assertFailed(t, failed, v1alpha1.ReasonSourceEmpty, string(dir))
	name := failed.Status.Workflow.Name

	workflow := func(collect require.TestingT) *wfv1.Workflow {
		wf := &wfv1.Workflow{}
		require.NoError(collect, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, wf))
		return wf
	}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		assert.Equal(collect, v1alpha1.ReasonSourceEmpty, workflow(collect).Labels[v1alpha1.LabelReason])
	}, noticeTime, tick)
	assert.Contains(t, workflow(t).Annotations["workflows.argoproj.io/description"], "Failed with `SourceEmpty`: `"+failed.Status.Message[:60])
	assert.Equal(t, name, strings.TrimSpace(run(t, "argo", "list", "-n", ns, "-l", v1alpha1.LabelReason+"="+v1alpha1.ReasonSourceEmpty, "-o", "name")))
	assert.Contains(t, run(t, "argo", "get", "-n", ns, name), v1alpha1.ReasonSourceEmpty)
	assert.Contains(t, run(t, "argo", "logs", "-n", ns, name), "FAILED mount-check: "+v1alpha1.ReasonSourceEmpty)

	dir.write(t, "model.bin", "weights")
	live.awaitReleased(t, ns, name)
	run(t, "argo", "retry", "-n", ns, name)
	live.readyAgain(t, failed)
	assert.NotContains(t, workflow(t).Labels, v1alpha1.LabelReason)
	assert.NotContains(t, workflow(t).Annotations["workflows.argoproj.io/description"], "Failed")
}
