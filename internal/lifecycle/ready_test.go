package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

const (
	pushed      = "Image modelhub/resnet:v1c072 was pushed and verified in the registry"
	otherDigest = "sha256:0a53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
)

// pushedAgain ends an attempt that had to push the image again.
func pushedAgain(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	r := w.Report()
	r.ImageLost, r.Image.Digest = true, otherDigest
	return w.Succeeded(r)
}

// lost fails an attempt that found no image in the registry.
func lost(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	r := w.FailureReport(contract.StepBuild, v1alpha1.ReasonRegistryUnreachable, "the registry does not respond")
	r.ImageLost = true
	return w.Failed(r)
}

// A rebuild of a ModelVersion that is Ready checks the registry. The ModelVersion
// stays Ready, unless the image is lost and cannot be built again.
func TestNextStepRebuildWhenReady(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*builders.WorkflowWrapper) *builders.WorkflowWrapper
		message string
		digest  string
		reason  string
	}{
		"created":              {nil, pushed + ". The requested rebuild checks it: Workflow mv-3-1c072-2 waits for Argo to start it", builders.Digest, v1alpha1.ReasonSucceeded},
		"running":              {runningStep(contract.StepMountCheck), pushed + ". The requested rebuild checks it: Workflow mv-3-1c072-2 runs step mount-check", builders.Digest, v1alpha1.ReasonSucceeded},
		"found again":          {succeeding, pushed + ". Workflow mv-3-1c072-2 found it there again", builders.Digest, v1alpha1.ReasonSucceeded},
		"pushed again":         {pushedAgain, pushed, otherDigest, v1alpha1.ReasonSucceeded},
		"source changed":       {failing(contract.StepMountCheck, v1alpha1.ReasonSourceChanged, "its files have changed since"), pushed + ". Workflow mv-3-1c072-2, which checks it, failed: Step mount-check: its files have changed since. Create a new ModelVersion", builders.Digest, v1alpha1.ReasonSucceeded},
		"lost":                 {lost, "The registry no longer has the image modelhub/resnet@" + builders.Digest + ", and it could not be built again: Step build: the registry does not respond", "", v1alpha1.ReasonImageLost},
		"succeeded, no report": {func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w.TerminatedWhileWaitingForLock() }, pushed + ". Workflow mv-3-1c072-2, which checks it, failed: Workflow mv-3-1c072-2 was terminated", builders.Digest, v1alpha1.ReasonSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.succeeded()
			s.requestRebuild()
			created := s.pass()
			require.NotNil(t, created)
			assert.Equal(t, builders.Digest, workflow.Argument(created, contract.ParamKnownDigest))
			if tc.change != nil {
				assert.Nil(t, s.updatePass(tc.change))
			}

			got := s.mv().Status
			assert.Contains(t, got.Message, tc.message)
			assert.Equal(t, tc.digest, got.Digest)
			assert.Equal(t, tc.reason, lifecycle.ReadyReason(s.mv()))
			assert.Equal(t, tc.reason == v1alpha1.ReasonSucceeded, meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionReady))

			assert.Nil(t, s.pass(), "a request is served once")
			assert.Equal(t, got, s.mv().Status)
			s.observed.Workflows = nil
			assert.Nil(t, s.pass(), "the status remembers what the Workflow found")
			assert.Equal(t, got, s.mv().Status)
		})
	}

	t.Run("an image that is signed afterwards", func(t *testing.T) {
		s := newScenario(t)
		s.succeeded()
		assert.Nil(t, s.mv().Status.Signature)
		s.requestRebuild()
		require.NotNil(t, s.pass())
		assert.Nil(t, s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
			r := w.Report()
			r.Image.Signature = signature()
			return w.Succeeded(r)
		}))
		want := &v1alpha1.SignatureStatus{
			SecretName: "modelkiln-signing", KeyID: builders.Digest, Bundle: "{}",
			Formats:      []v1alpha1.SignatureFormat{v1alpha1.BundleSignature, v1alpha1.TagSignature},
			Attestations: []v1alpha1.Attestation{v1alpha1.FilesAttestation, v1alpha1.ProvenanceAttestation, v1alpha1.TrainingAttestation},
		}
		assert.Equal(t, want, s.mv().Status.Signature)
		s.observed.Workflows = nil
		assert.Nil(t, s.pass())
		assert.Equal(t, want, s.mv().Status.Signature, "the status remembers the signature")
	})

	t.Run("a lost image can be built later", func(t *testing.T) {
		s := newScenario(t)
		s.succeeded()
		s.requestRebuild()
		s.pass()
		s.updatePass(lost)
		s.update(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
			return w.Retried(builders.Epoch.Add(time.Hour))
		})

		assert.Nil(t, s.updatePass(pushedAgain))
		assert.Equal(t, otherDigest, s.mv().Status.Digest)
		assert.Equal(t, v1alpha1.ImageBuildSucceeded, s.mv().Status.ImageBuildPhase)
	})
	t.Run("a request during the build is served by it", func(t *testing.T) {
		s := newScenario(t)
		s.started()
		s.requestRebuild()
		assert.Nil(t, s.updatePass(succeeding))
		assert.Nil(t, s.pass())
		assert.Equal(t, pushed, s.mv().Status.Message)
	})
}

// A rebuild that cannot be started says so, and the ModelVersion stays Ready.
func TestNextStepRebuildWhenReadyNotStarted(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*scenario)
		want   string
	}{
		"Argo missing":      {func(s *scenario) { s.observed.ArgoMissing = true }, "Argo Workflows is not installed"},
		"template missing":  {func(s *scenario) { s.observed.TemplateFound = false }, "ClusterWorkflowTemplate modelkiln-build does not exist"},
		"no longer allowed": {func(s *scenario) { s.mv().Spec.Storage.LocalStorage.Path = "/etc" }, "/etc cannot be packaged"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.succeeded()
			s.requestRebuild()
			tc.change(s)

			assert.Nil(t, s.pass())
			assert.Contains(t, s.mv().Status.Message, pushed+". The requested rebuild was not started: "+tc.want)
			assert.Equal(t, builders.Digest, s.mv().Status.Digest)
			assert.Equal(t, v1alpha1.ReasonSucceeded, lifecycle.ReadyReason(s.mv()))
		})
	}

	t.Run("rejected by the API server", func(t *testing.T) {
		s := newScenario(t)
		s.succeeded()
		s.requestRebuild()
		for _, got := range []v1alpha1.ModelVersionStatus{
			lifecycle.Rejected(s.mv(), "exceeded quota"), lifecycle.ArgoMissing(s.mv()), lifecycle.NameConflict(s.observed, "mv-3-1c072-2"),
		} {
			assert.Contains(t, got.Message, pushed+". The requested rebuild was not started: ")
			assert.True(t, meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionReady))
			assert.Equal(t, "again", got.Workflow.Rebuild)
		}
	})
}

// A Workflow that users resubmit after a success changes nothing, unless it had to
// push: the digest before may not exist any more.
func TestNextStepResubmitWhenReady(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper
		want   string
	}{
		"found again":    {succeeding, builders.Digest},
		"pushed again":   {pushedAgain, otherDigest},
		"source changed": {failing(contract.StepMountCheck, v1alpha1.ReasonSourceChanged, "its files have changed since"), builders.Digest},
		"running":        {runningStep(contract.StepBuild), builders.Digest},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.succeeded()
			before := s.mv().Status
			s.observed.Workflows = append(s.observed.Workflows, builders.FromWorkflow(s.observed.Workflows[0]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj())

			assert.Nil(t, s.updatePass(tc.change))
			assert.Equal(t, tc.want, s.mv().Status.Digest)
			assert.Equal(t, v1alpha1.ImageBuildSucceeded, s.mv().Status.ImageBuildPhase)
			if tc.want == builders.Digest {
				assert.Equal(t, before, s.mv().Status)
			}
		})
	}
}

// signing succeeds with an image that a key has signed.
func signing(keyID string) func(*builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		r := w.Report()
		r.Image.Signature = signature()
		r.Image.Signature.KeyID = keyID
		return w.Succeeded(r)
	}
}

// A Workflow that users resubmit signs the image with the key that there is now.
func TestNextStepResubmitSigns(t *testing.T) {
	for name, tt := range map[string]struct {
		change    func(*builders.WorkflowWrapper) *builders.WorkflowWrapper
		requested bool
		want      string
	}{
		"with another key":                 {change: signing(otherDigest), want: otherDigest},
		"with the same key":                {change: signing(builders.Digest), want: builders.Digest},
		"without a key":                    {change: succeeding, want: builders.Digest},
		"running":                          {change: runningStep(contract.StepBuild), want: builders.Digest},
		"while a rebuild is requested too": {change: signing(otherDigest), requested: true, want: builders.Digest},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			require.NotNil(t, s.pass())
			assert.Nil(t, s.updatePass(signing(builders.Digest)))
			before := s.mv().Status
			s.observed.Workflows = append(s.observed.Workflows, builders.FromWorkflow(s.observed.Workflows[0]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj())
			if tt.requested {
				s.requestRebuild()
			}

			created := s.updatePass(tt.change)

			assert.Equal(t, tt.requested, created != nil, "the attempt that is requested is created")
			after := s.mv().Status
			assert.Equal(t, tt.want, after.Signature.KeyID)
			if !tt.requested {
				assert.Nil(t, s.pass(), "nothing is left to do")
				assert.Equal(t, after, s.mv().Status)
				after.Signature = before.Signature
				assert.Equal(t, before, after, "nothing else changes")
			}
		})
	}
}

// What KubeDL has finished is final: a rebuild has no effect and says so.
func TestNextStepRebuildFinishedByKubeDL(t *testing.T) {
	for _, phase := range []v1alpha1.ImageBuildPhase{v1alpha1.ImageBuildSucceeded, v1alpha1.ImageBuildFailed} {
		s := newScenario(t)
		finishedByKubeDL(phase)(s)
		assert.Empty(t, s.next().Ignored)

		s.requestRebuild()
		step := s.next()
		assert.Equal(t, "KubeDL has finished this ModelVersion, and its result is final. To build the files, create a new ModelVersion", step.Ignored)
		assert.Equal(t, s.mv().Status, step.Status)
		assert.Nil(t, step.Create)
	}
}

// held succeeds with an image that a policy of the registry holds back.
func held(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	r := w.Report()
	r.Image.HeldBack = "a policy of the registry modelhub denies access to the image: sign it"
	return w.Succeeded(r)
}

// A ModelVersion whose image a policy of the registry holds back is Ready by the
// digest of the push. A rebuild after the policy is satisfied verifies the image.
func TestNextStepHeldByPolicy(t *testing.T) {
	s := newScenario(t)
	require.NotNil(t, s.pass())
	assert.Nil(t, s.updatePass(held))
	got := s.mv().Status
	assert.True(t, meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionReady))
	assert.Equal(t, v1alpha1.ReasonHeldByPolicy, lifecycle.ReadyReason(s.mv()))
	assert.Equal(t, builders.Digest, got.Digest)
	assert.Contains(t, got.Message, "was pushed, and the registry holds it back: a policy of the registry modelhub denies access to the image: sign it. To have it verified afterwards, rebuild with: kubectl annotate mv")

	s.requestRebuild()
	require.NotNil(t, s.pass())
	assert.Nil(t, s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonHeldByPolicy, "a policy denies access")))
	assert.Equal(t, v1alpha1.ReasonHeldByPolicy, lifecycle.ReadyReason(s.mv()), "it is still not verified")
	assert.Contains(t, s.mv().Status.Message, "holds it back. Workflow mv-3-1c072-2, which checks it, failed: Step mount-check: a policy denies access")

	s.mv().Annotations[v1alpha1.AnnotationRebuild] = "once more"
	require.NotNil(t, s.pass())
	assert.Nil(t, s.updatePass(succeeding))
	assert.Equal(t, v1alpha1.ReasonSucceeded, lifecycle.ReadyReason(s.mv()))
	assert.Contains(t, s.mv().Status.Message, "verified in the registry. Workflow mv-3-1c072-3 found it there again")
}

// The registry had lost an image, and now holds back the same image that a rebuild has
// pushed: nothing has verified it.
func TestNextStepRebuildHeldByPolicy(t *testing.T) {
	s := newScenario(t)
	s.succeeded()
	s.requestRebuild()
	require.NotNil(t, s.pass())
	assert.Nil(t, s.updatePass(held))
	assert.Equal(t, v1alpha1.ReasonHeldByPolicy, lifecycle.ReadyReason(s.mv()))
	assert.Equal(t, builders.Digest, s.mv().Status.Digest)
	assert.Contains(t, s.mv().Status.Message, "was pushed, and the registry holds it back: a policy of the registry modelhub denies access to the image: sign it. To have it verified afterwards, rebuild with:")
}

// The message of a ModelVersion that is Ready has the advice of the build.
func TestNextStepAdvice(t *testing.T) {
	for name, tt := range map[string]struct{ advice, want string }{
		"about files": {"1.2 GiB of 3.0 GiB are not the model (.git)", "was pushed and verified in the registry. 1.2 GiB of 3.0 GiB are not the model (.git)"},
		"of no bound": {strings.Repeat("x\n", 1000), "was pushed and verified in the registry. x x x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			require.NotNil(t, s.pass())
			assert.Nil(t, s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
				r := w.Report()
				r.Source.Advice = tt.advice
				return w.Succeeded(r)
			}))
			assert.True(t, meta.IsStatusConditionTrue(s.mv().Status.Conditions, v1alpha1.ConditionReady))
			assert.Contains(t, s.mv().Status.Message, tt.want)
			assert.Less(t, len(s.mv().Status.Message), 700)
		})
	}
	t.Run("of a rebuild", func(t *testing.T) {
		s := newScenario(t)
		s.succeeded()
		s.requestRebuild()
		require.NotNil(t, s.pass())
		assert.Nil(t, s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
			r := w.Report()
			r.Source.Advice = "1.2 GiB of 3.0 GiB are not the model (.git)"
			return w.Succeeded(r)
		}))
		assert.Contains(t, s.mv().Status.Message, "found it there again. 1.2 GiB of 3.0 GiB are not the model (.git)")
	})
}
