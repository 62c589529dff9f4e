package integration

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

const descriptionKey = "workflows.argoproj.io/description"

// patchesOf returns how many times the operator has patched the Workflows of a namespace.
func patchesOf(op *operator, namespace string) int {
	count := 0
	for _, summary := range op.transport.summaries(namespace) {
		if summary == "patch workflows" {
			count++
		}
	}
	return count
}

// A Workflow that has failed says why in the Argo UI, where it otherwise says that a retry
// would not help. That is one write.
func TestWorkflowDescription(t *testing.T) {
	op := startOperator(t, shared)
	s, wf := startBuild(t)
	before := wf.Annotations[descriptionKey]
	mv := s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "the path `/foo` holds no file")

	awaitReason := func(want string) *wfv1.Workflow {
		now := &wfv1.Workflow{}
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			require.NoError(c, s.client.Get(t.Context(), client.ObjectKeyFromObject(wf), now))
			assert.Equal(c, want, now.Labels[v1alpha1.LabelReason])
		}, deadline, tick)
		return now
	}
	failed := awaitReason(v1alpha1.ReasonSourceEmpty)
	assert.Contains(t, failed.Annotations[descriptionKey], "Failed with `SourceEmpty`: `Step mount-check: the path '/foo' holds no file.")
	assert.Contains(t, failed.Annotations[descriptionKey], "kubectl describe mv -n "+s.namespace+" resnet")
	op.drainQueue(t, shared)
	assert.Equal(t, 1, patchesOf(op, s.namespace))
	assert.Equal(t, mv.Status, s.version(resnet).Status)

	s.argo.retry(failed)
	running := awaitReason("")
	assert.NotContains(t, running.Labels, v1alpha1.LabelReason)
	assert.Equal(t, before, running.Annotations[descriptionKey])
	s.completeBuild(running)
	op.drainQueue(t, shared)
	assert.Equal(t, 2, patchesOf(op, s.namespace))
}
