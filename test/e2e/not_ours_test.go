//go:build e2e

package e2e

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAWorkflowThatSomebodyElseMadeUnderTheBuildsNameIsInTheWay(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	// The name is not known before the version is there. It has to wait, so
	// that somebody can be first.
	mv := live.waits(t, makeVersion("late", ns, dir).WorkflowTemplate(ns).New(), v1alpha1.ReasonTemplateMissing)
	planned, problem := workflow.New(mv, workflow.Attempt{Number: 1}, config.Default().Options())
	require.Nil(t, problem)
	squatter := &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: planned.Name},
		Spec:       wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: "modelkiln-build", ClusterScope: true}, Suspend: new(bool)},
	}
	*squatter.Spec.Suspend = true
	live.create(t, squatter)
	template := copyOfTemplate(t, ns)
	live.create(t, template)
	live.deleteAfter(t, template)

	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		mv = live.refresh(t, mv)
		require.Equal(collect, v1alpha1.ReasonWorkflowNameConflict, conditionReady(mv).Reason, mv.Status.Message)
	}, soon, tick)
	assert.Contains(t, mv.Status.Message, planned.Name)
	t.Log(mv.Status.Message)
	typeCommand(t, mv.Status.Message)

	mv = requireReady(t, live.settled(t, mv, func(now *v1alpha1.ModelVersion) bool { return now.Status.Workflow != nil }))
	holds(t, mv, dir)
}

func TestAWorkflowThatOnlyLooksLikeABuildIsNotFollowed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	failed, _ := live.failed(t, makeVersion("plain", ns, newFolder(t)).New())
	var ours wfv1.Workflow
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: failed.Status.Workflow.Name}, &ours))
	lookalike := &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "lookalike", Labels: map[string]string{}},
		Spec:       *ours.Spec.DeepCopy(),
	}
	for label, value := range ours.Labels {
		if label != "workflows.argoproj.io/completed" && label != "workflows.argoproj.io/phase" {
			lookalike.Labels[label] = value
		}
	}
	for i := range lookalike.Spec.Arguments.Parameters {
		if p := &lookalike.Spec.Arguments.Parameters[i]; p.Name == contract.ParamStoragePath {
			p.Value = wfv1.AnyStringPtr(string(model(t)))
		}
	}
	live.create(t, lookalike)

	wf := live.finished(t, ns, lookalike.Name)
	require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
	assert.Equal(t, failed.Status, live.refresh(t, failed).Status)
}
