package lifecycle_test

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// A Workflow that waits in Argo's queue compares with what is latest when it starts.
func TestNextStepQueued(t *testing.T) {
	latest := builders.MakeModelVersion("mv-2", "default").Built("modelhub/resnet:v2", builders.Digest).Obj()
	pinned := "modelhub/resnet@" + builders.Digest
	for name, tc := range map[string]struct {
		change func(*scenario)
		want   string
	}{
		"created":                         {func(*scenario) {}, pinned},
		"waiting for other Workflows":     {func(s *scenario) { s.update((*builders.WorkflowWrapper).WaitingForLock) }, pinned},
		"without another version":         {func(s *scenario) { s.observed.Versions = nil }, ""},
		"started":                         {func(s *scenario) { s.update(runningStep(contract.StepMountCheck)) }, ""},
		"arguments stored":                {func(s *scenario) { s.observed.Workflows[0].Status.StoredWorkflowSpec = &wfv1.WorkflowSpec{} }, ""},
		"settings edited in between":      {func(s *scenario) { s.mv().Spec.Build.BaseImage = "docker.io/library/debian:13" }, ""},
		"engine that reuses no layers":    {func(s *scenario) { s.mv().Spec.Build.Engine = v1alpha1.Kaniko }, ""},
		"latest version without a digest": {func(s *scenario) { s.observed.Versions[0].Status.Digest = "" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.mv().Spec.Build = &v1alpha1.Build{Engine: v1alpha1.Stream}
			s.pass()
			assert.True(t, lifecycle.IsQueued(s.mv()))
			s.observed.Versions = []v1alpha1.ModelVersion{*latest.DeepCopy()}
			tc.change(s)

			got := s.next().Update
			if tc.want == "" {
				assert.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			assert.Equal(t, tc.want, workflow.Argument(got, contract.ParamPreviousImage))
			before := s.observed.Workflows[0].DeepCopy()
			assert.Equal(t, workflow.WithPreviousImage(before, tc.want), got, "nothing else changes")

			s.observed.Workflows[0] = got
			assert.Nil(t, s.next().Update)
			s.pass()
			assert.Equal(t, workflow.BuildHash(got), s.mv().Status.Workflow.BuildHash)
		})
	}
}

// Whether an image is one of the Model is asked where the answer matters, and of images
// that are not of a known version.
func TestUnknownImages(t *testing.T) {
	const older = "modelhub/resnet@sha256:0e5a"
	latest := *builders.MakeModelVersion("mv-2", "default").Built("modelhub/resnet:v2", builders.Digest).Obj()
	reuse := func(image string) *builders.WorkflowWrapper {
		mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").Engine(v1alpha1.Stream).Obj()
		return builders.MakeWorkflow(mv, 1).Argument(contract.ParamPreviousImage, image)
	}
	for name, tc := range map[string]struct {
		wf       *builders.WorkflowWrapper
		recorded bool
		want     []string
	}{
		"nothing reused":               {reuse(""), false, nil},
		"the latest":                   {reuse("modelhub/resnet@" + builders.Digest), false, nil},
		"another one":                  {reuse(older), false, []string{older}},
		"of an accepted Workflow":      {reuse(older).Running(contract.StepBuild), true, nil},
		"of one that is not accepted":  {reuse(older).Running(contract.StepBuild), false, []string{older}},
		"of one that may be updated":   {reuse(older).WaitingForLock(), true, []string{older}},
		"of one that nobody has begun": {reuse(older), true, []string{older}},
	} {
		t.Run(name, func(t *testing.T) {
			wf := tc.wf.Obj()
			mv := builders.MakeModelVersion("mv-3", "default").Obj()
			if tc.recorded {
				mv.Status.Workflow = &v1alpha1.WorkflowStatus{Name: wf.Name, UID: string(wf.UID), BuildHash: workflow.BuildHash(wf)}
			}
			assert.Equal(t, tc.want, lifecycle.UnknownImages(mv, []*wfv1.Workflow{wf}, []v1alpha1.ModelVersion{latest}))
		})
	}
}
