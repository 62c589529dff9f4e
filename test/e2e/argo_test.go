//go:build e2e

package e2e

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// TestArgoRetryAndResubmit has users with the roles that deploy/ ships fix a
// failed build, with the argo command and in the Argo UI, in a namespace where only
// Argo's controller may report what a build has done.
func TestArgoRetryAndResubmit(t *testing.T) {
	t.Parallel()
	ns := live.reservedNamespace(t)
	shippedUser := live.shippedUser(t, ns)
	tests := map[string]struct {
		act  action
		verb string
		// workflows counts those that exist afterwards.
		workflows int
	}{
		"retry":       {act: argoAs(shippedUser), verb: "retry", workflows: 1},
		"resubmit":    {act: argoAs(shippedUser), verb: "resubmit", workflows: 2},
		"retry in UI": {act: live.pressButton, verb: "retry", workflows: 1},
		"memoized":    {act: argoAs(shippedUser, "--memoized"), verb: "resubmit", workflows: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDirectory(t)
			version := strings.ReplaceAll(strings.ToLower(name), " ", "-")
			failed, _ := live.failed(t, makeVersion(version, ns, dir).Model(version).New())
			assertFailed(t, failed, v1alpha1.ReasonSourceEmpty, string(dir))
			workflow := failed.Status.Workflow.Name
			assert.Contains(t, run(t, "argo", "logs", "-n", ns, "--as", shippedUser, workflow, "-c", contract.StepMountCheck), v1alpha1.ReasonSourceEmpty)
			assert.Contains(t, run(t, "argo", "logs", "-n", ns, "--as", shippedUser, workflow), "FAILED mount-check: "+v1alpha1.ReasonSourceEmpty)
			dir.write(t, "model.bin", "weights")

			tt.act(t, tt.verb, ns, workflow)

			mv := live.readyAgain(t, failed)
			assertImage(t, mv, dir)
			live.latest(t, mv)
			assert.Equal(t, failed.Status.Image, mv.Status.Image)
			assert.Equal(t, int64(1), mv.Status.Attempts, "the operator has created one Workflow")
			assert.Len(t, live.workflowsOf(t, mv), tt.workflows)

			_, err := try(t.Context(), "kubectl", "patch", "workflow", "-n", ns, "--as", shippedUser, mv.Status.Workflow.Name, "--type=merge", "-p", `{"status":{"outputs":{"parameters":[{"name":"report","value":"{}"}]}}}`)
			require.ErrorContains(t, err, "only the controller of Argo may write status.outputs")
		})
	}
}

func TestArgoResubmitAfterSuccess(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	mv := live.built(t, makeVersion("done", ns, dir).New())

	again := live.finished(t, ns, resubmit(t, mv))
	require.Equal(t, wfv1.WorkflowSucceeded, again.Status.Phase, again.Status.Message)
	left := reportOf(t, again)
	assert.True(t, left.Source.AlreadyPushed, "nothing is pushed again")
	assert.Equal(t, mv.Status.Digest, left.Image.Digest)

	dir.write(t, "config.json", `{"layers": 3}`)
	changed := live.finished(t, ns, resubmit(t, mv))
	assert.Equal(t, wfv1.WorkflowFailed, changed.Status.Phase)
	left = reportOf(t, changed)
	require.NotNil(t, left.Failure)
	assert.Equal(t, v1alpha1.ReasonSourceChanged, left.Failure.Reason)
	assert.Contains(t, left.Failure.Message, `"config.json" was changed`)

	assert.Equal(t, mv.Status.Digest, content.Digest(t, mv.Status.Image))
	assert.Equal(t, mv.Status, live.refresh(t, mv).Status)
	live.latest(t, mv)
}

// resubmit resubmits the ModelVersion's Workflow and returns the name of the
// new one.
func resubmit(t *testing.T, mv *v1alpha1.ModelVersion, flags ...string) string {
	t.Helper()
	args := []string{"resubmit", "-n", mv.Namespace, mv.Status.Workflow.Name, "-o", "name"}
	return strings.TrimSpace(run(t, "argo", append(args, flags...)...))
}

// finished returns a Workflow when it has finished.
func (c *cluster) finished(t *testing.T, namespace, name string) *wfv1.Workflow {
	t.Helper()
	wf := &wfv1.Workflow{}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, wf))
		require.True(collect, wf.Status.Phase.Completed(), "%s %s", wf.Status.Phase, wf.Status.Message)
	}, buildTime, tick)
	return wf
}

// awaitReleased waits until Argo has nothing more to do for a Workflow that has
// finished. Argo may never see a retry that comes in the same moment. The operator helps
// builds only (TestRetriedAtOnce), and not what is run for a ModelVersion that is Ready.
func (c *cluster) awaitReleased(t *testing.T, namespace, workflow string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var pods corev1.PodList
		require.NoError(collect, c.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{workflowLabel: workflow}))
		for _, pod := range pods.Items {
			require.Equal(collect, "true", pod.Labels["workflows.argoproj.io/completed"], pod.Name)
		}
	}, noticeTime, tick)
}

// reportOf returns the report that a Workflow left.
func reportOf(t *testing.T, wf *wfv1.Workflow) report.Report {
	t.Helper()
	require.NotNil(t, wf.Status.Outputs, "Workflow %s left no outputs: %s", wf.Name, wf.Status.Message)
	for _, parameter := range wf.Status.Outputs.Parameters {
		if parameter.Name == contract.OutputReport && parameter.Value != nil {
			run, err := report.Parse(parameter.Value.String())
			require.NoError(t, err)
			return run
		}
	}
	require.Fail(t, "the Workflow left no report", wf.Name)
	return report.Report{}
}

func TestArgoStopAndTerminate(t *testing.T) {
	t.Parallel()
	ns := live.reservedNamespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 60<<20)
	tests := map[string]struct {
		act    action
		verb   string
		reason string
	}{
		"stop":            {act: argoAs(live.shippedUser(t, ns)), verb: "stop", reason: v1alpha1.ReasonWorkflowStopped},
		"terminate in UI": {act: live.pressButton, verb: "terminate", reason: v1alpha1.ReasonWorkflowTerminated},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mv := makeVersion(tt.verb, ns, dir).Model(tt.verb).New()
			live.create(t, mv)
			running := live.running(t, mv)

			tt.act(t, tt.verb, ns, running.Status.Workflow.Name)

			mv = live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
			assertFailed(t, mv, tt.reason, running.Status.Workflow.Name)
			runCommand(t, mv.Status.Message)
			assertImage(t, live.readyAgain(t, mv), dir)
		})
	}
}

func TestArgoDelete(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	mv := makeVersion("deleted", ns, dir).New()
	live.create(t, mv)
	first := live.running(t, mv)
	run(t, "argo", "delete", "-n", ns, first.Status.Workflow.Name)

	mv = live.ready(t, mv)
	assert.NotEqual(t, first.Status.Workflow.Name, mv.Status.Workflow.Name)
	assert.Equal(t, first.Status.Image, mv.Status.Image)
	assertImage(t, mv, dir)

	run(t, "argo", "delete", "-n", ns, mv.Status.Workflow.Name)
	live.assertNothingAppears(t, ns, noticeTime/6, &wfv1.WorkflowList{})
	assert.Equal(t, mv.Status, live.refresh(t, mv).Status)
}
