package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

var (
	firstCommit  = strings.Repeat("1", 40)
	secondCommit = strings.Repeat("2", 40)
	listing      = "sha256:" + strings.Repeat("3", 64)
)

// newHubScenario returns the scenario of a ModelVersion on a hub.
func newHubScenario(t *testing.T) *scenario {
	t.Helper()
	s := newScenario(t)
	s.mv().Spec.Storage = v1alpha1.Storage{HuggingFace: &v1alpha1.HuggingFace{Repo: "mistralai/Mistral-7B-v0.3"}}
	s.opts.HuggingFace.Allowed = []string{"huggingface.co"}
	return s
}

// readFrom has the first step report from where it read the files.
func readFrom(r report.Report, revision string) report.Report {
	r.Source.Revision, r.Source.Digest = revision, listing
	return r
}

func TestRevisionOfFirstAttemptIsKept(t *testing.T) {
	s := newHubScenario(t)
	s.started()
	s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Failed(readFrom(w.FailureReport(contract.StepBuild, v1alpha1.ReasonRegistryFull, "the registry is full"), firstCommit))
	})
	assert.Equal(t, &v1alpha1.SourceStatus{Revision: firstCommit}, s.mv().Status.Source)

	s.requestRebuild()
	created := s.pass()
	require.NotNil(t, created)
	assert.Equal(t, firstCommit, workflow.Argument(created, contract.ParamKnownRevision))

	s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Succeeded(readFrom(w.Report(), firstCommit))
	})
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, s.mv().Status.ImageBuildPhase)
	assert.Equal(t, &v1alpha1.SourceStatus{Revision: firstCommit, Digest: listing}, s.mv().Status.Source)
}

// An image of another commit than the attempt was created for proves nothing.
func TestRevisionThatTheTemplateIgnores(t *testing.T) {
	s := newHubScenario(t)
	s.mv().Status.Source = &v1alpha1.SourceStatus{Revision: firstCommit}
	s.started()
	s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Succeeded(readFrom(w.Report(), secondCommit))
	})
	assert.Equal(t, v1alpha1.ReasonReportInvalid, lifecycle.ReadyReason(s.mv()))
	assert.Contains(t, s.mv().Status.Message, `of the commit "`+secondCommit+`": the template must pass the parameter known-revision to mount-check`)
	assert.Equal(t, &v1alpha1.SourceStatus{Revision: firstCommit}, s.mv().Status.Source)
}

// A user resubmits the first attempt, which has no commit yet, after the branch has
// moved. The status reports what the image holds.
func TestRevisionOfResubmittedAttempt(t *testing.T) {
	s := newHubScenario(t)
	s.started()
	s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Failed(readFrom(w.FailureReport(contract.StepBuild, v1alpha1.ReasonRegistryFull, "the registry is full"), firstCommit))
	})
	resubmitted := builders.FromWorkflow(s.observed.Workflows[0]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour))
	s.observed.Workflows = append(s.observed.Workflows, resubmitted.Succeeded(readFrom(resubmitted.Report(), secondCommit)).Obj())
	s.pass()
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, s.mv().Status.ImageBuildPhase)
	assert.Equal(t, &v1alpha1.SourceStatus{Revision: secondCommit, Digest: listing}, s.mv().Status.Source)
}

func TestRevisionThatIsNoCommit(t *testing.T) {
	for name, revision := range map[string]string{"a branch": "main", "a command": "$(id)", "too long": strings.Repeat("1", 41)} {
		t.Run(name, func(t *testing.T) {
			s := newHubScenario(t)
			s.started()
			s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
				return w.Succeeded(readFrom(w.Report(), revision))
			})
			assert.Equal(t, &v1alpha1.SourceStatus{Digest: listing}, s.mv().Status.Source)
		})
	}
}

func TestStorageThatIsMountedHasNoSource(t *testing.T) {
	s := newScenario(t)
	s.succeeded()
	assert.Nil(t, s.mv().Status.Source)
}
