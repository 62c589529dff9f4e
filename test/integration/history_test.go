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

func TestTheHistoryOfBuildsIsBounded(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) {
		c.FailedHistory, c.SucceededHistory = 1, 0
		c.ArgoURL = "https://argo.example.com/"
	}))
	s, wf := newBuild(t)
	mv := s.buildFails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
	assert.Equal(t, "https://argo.example.com/workflows/"+s.namespace+"/"+wf.Name, mv.Status.Workflow.URL)
	for attempt := int64(2); attempt <= 3; attempt++ {
		s.annotate(resnet, v1alpha1.AnnotationRebuild, string(rune('0'+attempt)))
		wf = s.argo.awaitAttempt(mv, attempt)
		s.argo.fails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		s.awaitFollows(resnet, wf, "Failed")
	}
	s.awaitWorkflows(workflow.Name(mv.Name, mv.UID, 2), workflow.Name(mv.Name, mv.UID, 3))

	wf = s.argo.retry(wf)
	ready := s.buildSucceeds(wf)
	s.awaitWorkflows(workflow.Name(mv.Name, mv.UID, 2), wf.Name)

	// Of a version that is Ready too, whose result stays.
	again := s.argo.resubmit(s.client, wf)
	s.argo.succeeds(again)
	s.awaitWorkflows(workflow.Name(mv.Name, mv.UID, 2), wf.Name)
	op.settles(t, shared)
	assert.Equal(t, ready.Status, s.version(resnet).Status)
}

// awaitWorkflows waits until the namespace has these Workflows and no others.
func (s scene) awaitWorkflows(want ...string) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		var got []string
		for _, wf := range s.argo.workflows() {
			got = append(got, wf.Name)
		}
		assert.ElementsMatch(c, want, got)
	}, deadline, tick)
}
