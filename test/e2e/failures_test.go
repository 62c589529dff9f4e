//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// logNoticed logs how soon anyone could see a ModelVersion's message.
func logNoticed(t *testing.T, mv *v1alpha1.ModelVersion, took time.Duration) {
	t.Helper()
	t.Logf("figure: seen after %.1f s: %s: %s", took.Seconds(), conditionReady(mv).Reason, mv.Status.Message)
}

// runEdit runs the kubectl edit command that a message ends with, and changes
// the object in the editor as the sed script does.
func runEdit(t *testing.T, message, script string) {
	t.Helper()
	begin := strings.Index(message, "kubectl edit ")
	require.GreaterOrEqual(t, begin, 0, "%q does not say what to edit", message)
	command := exec.CommandContext(t.Context(), "/bin/sh", "-c", message[begin:])
	command.Env = append(os.Environ(), "KUBE_EDITOR=sed -i "+script)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s: %s", message[begin:], out)
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	version := makeVersion("hungry", ns, dir).Request(corev1.ResourceMemory, "16Mi").Limit(corev1.ResourceMemory, "24Mi")

	mv, took := live.failed(t, version.New())

	assertFailed(t, mv, v1alpha1.ReasonOutOfMemory, "spec.build.resources.limits.memory")
	logNoticed(t, mv, took)
	runEdit(t, mv.Status.Message, "s/24Mi/512Mi/")
	assertImage(t, live.readyAgain(t, mv), dir)
}

func TestUnschedulable(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	mv := makeVersion("homeless", ns, model(t)).NodeLabel("e2e.modelkiln.test/disk", "of-no-node").New()

	mv = live.waits(t, mv, v1alpha1.ReasonUnschedulable)

	assert.Equal(t, metav1.ConditionUnknown, conditionReady(mv).Status)
	assert.Contains(t, mv.Status.Message, "0/1 nodes are available")
	assert.Contains(t, mv.Status.Message, "node affinity/selector")

	run(t, "kubectl", "delete", "mv", mv.Name, "-n", ns)
	run(t, "kubectl", "delete", "model", mv.Spec.ModelName, "-n", ns)
	live.awaitNothingLeft(t, ns)
}

// waits creates a ModelVersion and returns it when it waits for this reason,
// which must show within half a minute.
func (c *cluster) waits(t *testing.T, mv *v1alpha1.ModelVersion, reason string) *v1alpha1.ModelVersion {
	t.Helper()
	began := time.Now()
	c.create(t, mv)
	now := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(mv), now))
		ready := conditionReady(now)
		require.Equal(collect, reason, ready.Reason, ready.Message)
	}, buildTime, tick) // The pod may have to wait for the CPU of other tests first.
	logNoticed(t, now, time.Since(began))
	assert.True(t, meta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionReconciling), "Flux and Argo CD read Reconciling")
	assert.Nil(t, meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionStalled))
	assert.Equal(t, v1alpha1.ImageBuilding, now.Status.ImageBuildPhase)
	assert.Equal(t, conditionReady(now).Message, now.Status.Message)
	return now
}

func TestImagePullFailed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	nothing := live.registry + "/library/nothing:1"
	template := copyOfTemplate(t, ns)
	step := containerOf(t, template, "status-report")
	works := step.Image
	step.Image = nothing
	live.create(t, template)
	live.deleteAfter(t, template)

	mv := live.waits(t, makeVersion("imageless", ns, dir).WorkflowTemplate(ns).New(), v1alpha1.ReasonImagePullFailed)
	assert.Equal(t, metav1.ConditionUnknown, conditionReady(mv).Status)
	assert.Contains(t, mv.Status.Message, nothing)

	containerOf(t, template, "status-report").Image = works
	require.NoError(t, live.Update(t.Context(), template))
	run(t, "argo", "terminate", "-n", ns, mv.Status.Workflow.Name)
	ended := live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
	assertFailed(t, ended, v1alpha1.ReasonWorkflowTerminated, mv.Status.Workflow.Name)
	runCommand(t, ended.Status.Message)
	assertImage(t, live.readyAgain(t, ended), dir)
}

// copyOfTemplate returns the template of the engine Kaniko under another name, and as
// one that ModelVersions may name.
func copyOfTemplate(t *testing.T, name string) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	template := &wfv1.ClusterWorkflowTemplate{}
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Name: contract.BuildTemplate}, template))
	template.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelBuildTemplate: "true"}}
	return template
}

// containerOf returns the container of a step.
func containerOf(t *testing.T, template *wfv1.ClusterWorkflowTemplate, step string) *wfv1.ContainerNode {
	t.Helper()
	containers := template.Spec.Templates[0].ContainerSet.Containers
	for i := range containers {
		if containers[i].Name == step {
			return &containers[i]
		}
	}
	require.Fail(t, "the template has no such step", step)
	return nil
}

func TestPodDeletedOnce(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 100_000_000)
	mv := makeVersion("podless", ns, dir).New()
	live.create(t, mv)
	workflow := live.running(t, mv).Status.Workflow.Name
	lost, err := live.podsOf(t.Context(), ns, workflow)
	require.NoError(t, err)
	require.Len(t, lost, 1)

	run(t, "kubectl", "delete", "pod", lost[0].Name, "-n", ns, "--grace-period=0", "--force")

	mv = live.ready(t, mv)
	assertImage(t, mv, dir)
	assert.Equal(t, []string{workflow}, live.workflowsOf(t, mv))
	assert.Equal(t, int64(1), mv.Status.Attempts)
	pods, err := live.podsOf(t.Context(), ns, workflow)
	require.NoError(t, err)
	require.Len(t, pods, 1)
	assert.NotEqual(t, lost[0].UID, pods[0].UID)
}
