//go:build e2e

package e2e

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestLookalikeWorkflow(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	failed, _ := live.failed(t, makeVersion("plain", ns, newDirectory(t)).New())
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
