//go:build e2e

package e2e

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

func TestArgoResubmitWithOtherArguments(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	others := map[string]string{
		contract.ParamStoragePath: string(model(t)),
		contract.ParamImage:       live.registry + "/e2e/" + ns + "/other:v1",
	}
	for parameter, value := range others {
		t.Run(parameter, func(t *testing.T) {
			t.Parallel()
			dir := newDirectory(t)
			failed, _ := live.failed(t, makeVersion(parameter, ns, dir).Model(parameter).New())
			dir.write(t, "model.bin", "weights")

			resubmitted := strings.TrimSpace(run(t, "argo", "resubmit", "-n", ns, failed.Status.Workflow.Name, "-p", parameter+"="+value, "-o", "name"))

			wf := live.finished(t, ns, resubmitted)
			require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
			assert.Equal(t, failed.Status, live.refresh(t, failed).Status)
			// The steps cannot know about another path: they push other files
			// under the ModelVersion's name, which proves nothing.
			if parameter == contract.ParamImage {
				content.AssertNotTagged(t, failed.Status.Image)
			}
		})
	}
}

func TestArgoSuspend(t *testing.T) {
	t.Parallel()
	ns := live.reservedNamespace(t)
	shippedUser := live.shippedUser(t, ns)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 60<<20)
	mv := makeVersion("paused", ns, dir).New()
	live.create(t, mv)
	workflow := live.running(t, mv).Status.Workflow.Name

	run(t, "argo", "suspend", "-n", ns, "--as", shippedUser, workflow)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		pods, err := live.podsOf(t.Context(), ns, workflow)
		require.NoError(collect, err)
		require.Len(collect, pods, 1)
		require.Equal(collect, corev1.PodSucceeded, pods[0].Status.Phase)
	}, buildTime, tick)
	paused := live.refresh(t, mv)
	assert.Equal(t, metav1.ConditionUnknown, conditionReady(paused).Status, paused.Status.Message)
	assert.Contains(t, paused.Status.Message, "argo resume -n "+ns+" "+workflow)

	run(t, "argo", "resume", "-n", ns, "--as", shippedUser, workflow)
	mv = live.ready(t, mv)
	assertImage(t, mv, dir)
	assert.Equal(t, []string{workflow}, live.workflowsOf(t, mv))
}

func TestArgoTerminateWhilePending(t *testing.T) {
	t.Parallel()
	s := live.submitter(t)
	large, small := newDirectory(t), model(t)
	large.random(t, "weights.bin", 200_000_000)
	holder, err := s.submit(t.Context(), large, nil)
	require.NoError(t, err)
	live.started(t, s.namespace, holder)

	mv := live.waits(t, makeVersion("queued", s.namespace, small).ImageTag("v1").New(), v1alpha1.ReasonWorkflowPending)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		assert.Contains(collect, live.refresh(t, mv).Status.Message, "lock")
	}, noticeTime, tick)
	t.Log(live.refresh(t, mv).Status.Message)
	run(t, "argo", "terminate", "-n", s.namespace, mv.Status.Workflow.Name)

	mv = live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
	assertFailed(t, mv, v1alpha1.ReasonWorkflowTerminated, mv.Status.Workflow.Name)
	assert.Equal(t, wfv1.WorkflowSucceeded, live.workflow(t, mv).Status.Phase, "which is what Argo calls it")

	run(t, "argo", "terminate", "-n", s.namespace, holder)
	live.finished(t, s.namespace, holder)
	runCommand(t, mv.Status.Message)
	assertImage(t, live.readyAgain(t, mv), small)
}

// started returns when Argo has started a Workflow.
func (c *cluster) started(t *testing.T, namespace, workflow string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var wf wfv1.Workflow
		require.NoError(collect, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: workflow}, &wf))
		require.Equal(collect, wfv1.WorkflowRunning, wf.Status.Phase)
	}, noticeTime, tick)
}
