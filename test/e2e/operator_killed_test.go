//go:build e2e

package e2e

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// This test runs alone: other tests would wait for the operator too.
func TestOperatorKilled(t *testing.T) {
	ns := live.namespace(t)
	dir := model(t)
	steps := []struct {
		name    string
		reached func(b build) bool
		// argo is whether Argo's controller is killed as well.
		argo bool
	}{
		{name: "pending", reached: func(build) bool { return true }},
		{name: "mount-check", reached: func(b build) bool { return b.began(contract.StepMountCheck) }},
		{name: "build", reached: func(b build) bool { return b.began(contract.StepBuild) }},
		{name: "build-without-argo", reached: func(b build) bool { return b.began(contract.StepBuild) }, argo: true},
		{name: "status-report", reached: func(b build) bool { return b.began(contract.StepStatusReport) }},
		{name: "done", reached: func(b build) bool { return b.workflow.Status.Phase.Completed() }},
	}
	versions := map[string]*v1alpha1.ModelVersion{}
	for _, step := range steps {
		mv := makeVersion(step.name, ns, dir).Model(step.name).New()
		began := time.Now()
		live.create(t, mv)
		versions[step.name] = mv
		require.EventuallyWithT(t, func(collect *assert.CollectT) {
			b, found := live.buildOf(t, mv)
			require.True(collect, found && step.reached(b))
		}, buildTime, tick/4)
		t.Logf("killing the operator at %s, after %.1f s", step.name, time.Since(began).Seconds())
		killOperator(t)
		if step.argo {
			killArgo(t)
		}
	}
	for step, mv := range versions {
		now := live.ready(t, mv)
		assertImage(t, now, dir)
		assert.Equal(t, []string{now.Status.Workflow.Name}, live.workflowsOf(t, now), "killed at %s", step)
		assert.Equal(t, int64(1), now.Status.Attempts, "killed at %s", step)
		assert.Equal(t, wfv1.WorkflowSucceeded, live.workflow(t, now).Status.Phase, "killed at %s", step)
		live.latest(t, now)
	}
}

// build is an unfinished build: the Workflow, and its pods if there are any.
type build struct {
	workflow wfv1.Workflow
	pods     []corev1.Pod
}

// buildOf returns the build of a ModelVersion, if it has begun.
func (c *cluster) buildOf(t *testing.T, mv *v1alpha1.ModelVersion) (build, bool) {
	t.Helper()
	var list wfv1.WorkflowList
	require.NoError(t, c.List(t.Context(), &list, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelModelVersion: mv.Name}))
	if len(list.Items) == 0 {
		return build{}, false
	}
	pods, err := c.podsOf(t.Context(), mv.Namespace, list.Items[0].Name)
	require.NoError(t, err)
	return build{workflow: list.Items[0], pods: pods}, true
}

// steps are the pod's containers, each of which waits for the one before it.
// All of them start at once.
var steps = []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport}

// began reports whether a step has begun: its container has started, and those
// before it have terminated.
func (b build) began(step string) bool {
	states := map[string]corev1.ContainerState{}
	for _, pod := range b.pods {
		for _, status := range pod.Status.ContainerStatuses {
			states[status.Name] = status.State
		}
	}
	for _, each := range steps {
		if each == step {
			return states[each].Running != nil || states[each].Terminated != nil
		}
		if states[each].Terminated == nil {
			return false
		}
	}
	return false
}

// killArgo deletes the pod of Argo's controller at once, as if its node failed.
func killArgo(t *testing.T) {
	t.Helper()
	run(t, "kubectl", "delete", "pod", "-n", "argo", "-l", "app=workflow-controller", "--grace-period=0", "--force")
}
