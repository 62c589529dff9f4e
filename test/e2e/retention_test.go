//go:build e2e

package e2e

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// A ModelVersion keeps its status when Argo deletes its Workflow.
func TestWorkflowGarbageCollected(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	template := copyOfTemplate(t, ns)
	template.Spec.TTLStrategy = &wfv1.TTLStrategy{SecondsAfterCompletion: ptr.To(int32(1))}
	template.Spec.PodGC = &wfv1.PodGC{Strategy: wfv1.PodGCOnPodCompletion}
	live.create(t, template)
	live.deleteAfter(t, template)
	dir, empty := model(t), newDirectory(t)

	built := live.built(t, makeVersion("built", ns, dir).Model("built").WorkflowTemplate(ns).New())
	failed, _ := live.failed(t, makeVersion("failed", ns, empty).Model("failed").WorkflowTemplate(ns).New())
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.Empty(collect, live.workflowsOf(t, built))
		require.Empty(collect, live.workflowsOf(t, failed))
	}, noticeTime, tick)
	live.assertNothingAppears(t, ns, noticeTime/6, &wfv1.WorkflowList{})

	assert.Equal(t, built.Status, live.refresh(t, built).Status)
	assert.Equal(t, failed.Status, live.refresh(t, failed).Status)
	assertImage(t, built, dir)
	assertFailed(t, failed, v1alpha1.ReasonSourceEmpty, string(empty))
	empty.write(t, "model.bin", "weights")
	runCommand(t, failed.Status.Message)
	assertImage(t, live.readyAgain(t, failed), empty)
}

func TestArgoRetrySteps(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	mv := live.built(t, makeVersion("again", ns, dir).New())

	live.awaitReleased(t, ns, mv.Status.Workflow.Name)
	run(t, "argo", "retry", "-n", ns, mv.Status.Workflow.Name, "--restart-successful", "--node-field-selector", "displayName=pod")

	wf := live.finished(t, ns, mv.Status.Workflow.Name)
	require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
	assert.True(t, reportOf(t, wf).Source.AlreadyPushed, "nothing is pushed again")
	assert.Equal(t, mv.Status, live.refresh(t, mv).Status)
	assert.Equal(t, mv.Status.Digest, content.Digest(t, mv.Status.Image))
}

func TestArgoResubmitWhileRunning(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 60<<20)
	mv := makeVersion("twice", ns, dir).New()
	live.create(t, mv)
	mv = live.running(t, mv)

	second := strings.TrimSpace(run(t, "argo", "resubmit", "-n", ns, mv.Status.Workflow.Name, "-o", "name"))

	for _, workflow := range []string{mv.Status.Workflow.Name, second} {
		wf := live.finished(t, ns, workflow)
		require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
		assert.Equal(t, workflow == second, reportOf(t, wf).Source.AlreadyPushed, "the second found what the first had pushed")
	}
	mv = live.ready(t, mv)
	assertImage(t, mv, dir)
	assert.Equal(t, mv.Status.Digest, content.Digest(t, mv.Status.Image))
	assert.Equal(t, int64(1), mv.Status.Attempts, "the operator has created one Workflow")
}
