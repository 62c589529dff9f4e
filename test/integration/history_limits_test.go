package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestHistoryLimits(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) {
		c.FailedWorkflowsHistoryLimit, c.SuccessfulWorkflowsHistoryLimit = 1, 0
		c.ArgoURL = "https://argo.example.com/"
	}))
	s, wf := startBuild(t)
	mv := s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
	assert.Equal(t, "https://argo.example.com/workflows/"+s.namespace+"/"+wf.Name, mv.Status.Workflow.URL)
	for attempt := int64(2); attempt <= 3; attempt++ {
		s.annotate(resnet, v1alpha1.AnnotationRebuild, string(rune('0'+attempt)))
		wf = s.argo.awaitAttempt(mv, attempt)
		s.argo.failWorkflow(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")
		s.awaitWorkflowPhase(resnet, wf, "Failed")
	}
	s.awaitWorkflows(workflow.Name(mv.Name, mv.UID, 2), workflow.Name(mv.Name, mv.UID, 3))

	wf = s.argo.retry(wf)
	ready := s.completeBuild(wf)
	s.awaitWorkflows(workflow.Name(mv.Name, mv.UID, 2), wf.Name)

	// The limits also apply after the ModelVersion is Ready, and its status
	// continues to describe the same build.
	s.argo.completeWorkflow(s.argo.resubmit(s.client, wf))
	s.awaitWorkflows(workflow.Name(mv.Name, mv.UID, 2), wf.Name)
	op.drainQueue(t, shared)
	again := s.version(resnet)
	assert.Equal(t, ready.Status.Workflow, again.Status.Workflow)
	assert.Equal(t, ready.Status.Digest, again.Status.Digest)
	assert.Equal(t, v1alpha1.ReasonSucceeded, readyReason(again))
}

// awaitWorkflows waits until the namespace has exactly these Workflows.
func (s sandbox) awaitWorkflows(want ...string) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		var got []string
		for _, wf := range s.argo.workflows() {
			got = append(got, wf.Name)
		}
		assert.ElementsMatch(c, want, got)
	}, deadline, tick)
}
