package lifecycle_test

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

const (
	tagWorkflow = "model1-production-9d1f3-1772366400"
	movedTag    = "modelhub/resnet:production"
)

// tagScenario is an alias with tag: true that stands for v1.
type tagScenario struct {
	t        *testing.T
	opts     workflow.Options
	observed lifecycle.ObservedAliases
}

func newTagScenario(t *testing.T) *tagScenario {
	t.Helper()
	mv := builders.MakeModelVersion("v1", "team-a").Built("modelhub/resnet:v1", builders.Digest).Obj()
	model := aliasModel("v1", v1alpha1.AliasStatus{
		Name: "production", Version: "v1", Digest: builders.Digest, Image: "modelhub/resnet:v1", Since: ptr.To(atSecond(0)),
		Tag: &v1alpha1.AliasTag{Workflow: tagWorkflow}, Reason: v1alpha1.ReasonTagMoving,
	})
	model.Spec.Aliases[0].Tag = true
	return &tagScenario{t: t, opts: config.Default().Options(), observed: lifecycle.ObservedAliases{
		Model: model, Versions: map[string]*v1alpha1.ModelVersion{"v1": mv}, Tags: map[string]lifecycle.ObservedTag{}, Now: atSecond(60),
	}}
}

func (s *tagScenario) status() *v1alpha1.AliasStatus { return &s.observed.Model.Status.Aliases[0] }

// workflow returns the Workflow that the operator creates.
func (s *tagScenario) workflow() *wfv1.Workflow {
	s.t.Helper()
	wf, problem := workflow.NewPromotion(workflow.Promotion{
		Model: s.observed.Model, Alias: "production", Version: s.observed.Versions["v1"], Since: atSecond(0),
	}, s.opts)
	require.Nil(s.t, problem)
	wf.UID = "0b4f7a52-0000-4000-8000-000000000000"
	return wf
}

// report returns the report of a step that has moved the tag.
func (s *tagScenario) report() report.Report {
	return report.Report{
		Run:   report.Run{WorkflowUID: string(s.workflow().UID), Image: movedTag},
		Image: &report.Image{Reference: movedTag, Digest: builders.Digest},
	}
}

func (s *tagScenario) follow(wf *wfv1.Workflow) {
	s.observed.Tags["production"] = lifecycle.ObservedTag{Workflow: wf}
}

func (s *tagScenario) succeed(edit func(*report.Report)) {
	s.t.Helper()
	r := s.report()
	edit(&r)
	s.follow(builders.FromWorkflow(s.workflow()).Succeeded(r).Obj())
}

func TestNextAliasesTag(t *testing.T) {
	const progress = "Workflow " + tagWorkflow + " moves the tag " + movedTag + ". To see its progress: argo get -n team-a " + tagWorkflow
	const again = ". To try again: argo retry -n team-a " + tagWorkflow
	const unproved = "Workflow " + tagWorkflow + " succeeded without proof that the tag was moved: "
	for name, tt := range map[string]struct {
		edit            func(s *tagScenario)
		reason, message string
		// moved is true if the status says that the tag refers to the image, and created
		// if the Workflow is to be created.
		moved, created bool
	}{
		"a tag that was just asked for": {
			edit: func(s *tagScenario) { s.status().Tag = nil }, reason: v1alpha1.ReasonTagMoving, message: progress,
		},
		"a tag of the promotion before": {
			edit: func(s *tagScenario) {
				s.status().Tag = &v1alpha1.AliasTag{Workflow: "model1-production-9d1f3-1", Digest: otherDigest}
			},
			reason: v1alpha1.ReasonTagMoving, message: progress,
		},
		"a Workflow of the promotion before": {
			edit: func(s *tagScenario) {
				s.succeed(func(*report.Report) {})
				s.status().Tag = &v1alpha1.AliasTag{Workflow: "model1-production-9d1f3-1"}
			}, reason: v1alpha1.ReasonTagMoving, message: progress,
		},
		"a Workflow that the status names": {
			edit: func(*tagScenario) {}, reason: v1alpha1.ReasonTagMoving, message: progress, created: true,
		},
		"Argo is missing": {
			edit: func(s *tagScenario) { s.observed.ArgoMissing = true }, reason: v1alpha1.ReasonArgoMissing,
			message: "Argo Workflows is not installed, so the tag is not moved. It is moved as soon as the CRDs exist",
		},
		"the template is missing": {
			edit: func(s *tagScenario) { s.observed.TemplateMissing = true }, reason: v1alpha1.ReasonTemplateMissing,
			message: "ClusterWorkflowTemplate modelkiln-promote does not exist, so the tag is not moved. To create it: kubectl apply --server-side -k workflow-templates",
		},
		"Argo is there again": {
			edit: func(s *tagScenario) { s.status().Reason = v1alpha1.ReasonArgoMissing }, reason: v1alpha1.ReasonTagMoving, message: progress, created: true,
		},
		"a repository that is not allowed": {
			edit: func(s *tagScenario) { s.opts.Images.Repos = []string{"registry.example.com/models"} }, reason: v1alpha1.ReasonImageForbidden,
			message: "Models may not be pushed to docker.io/modelhub/resnet (allowedImageRepos)",
		},
		"the imageTag of a ModelVersion": {
			edit: func(s *tagScenario) {
				s.observed.Tags["production"] = lifecycle.ObservedTag{TaggedVersion: "v7"}
			}, reason: v1alpha1.ReasonInvalidSpec,
			message: "The tag production is the imageTag of ModelVersion v7, and is not moved: choose another name for the alias, or set tag: false",
		},
		"a Workflow that runs": {
			edit: func(s *tagScenario) { s.follow(s.workflow()) }, reason: v1alpha1.ReasonTagMoving, message: progress,
		},
		"a Workflow that succeeded": {edit: func(s *tagScenario) { s.succeed(func(*report.Report) {}) }, moved: true},
		"a tag that was moved": {
			edit: func(s *tagScenario) { s.status().Tag.Digest, s.status().Reason = builders.Digest, "" }, moved: true,
		},
		"a Workflow that failed": {
			edit: func(s *tagScenario) {
				r := s.report()
				r.Image, r.Failure = nil, &report.Failure{Step: contract.StepPromote, Reason: v1alpha1.ReasonTagTaken, Message: "the tag production holds an image that names no ModelVersion"}
				s.follow(builders.FromWorkflow(s.workflow()).Failed(r).Obj())
			}, reason: v1alpha1.ReasonTagTaken, message: "Step promote: the tag production holds an image that names no ModelVersion" + again,
		},
		"a Workflow that was stopped": {
			edit:   func(s *tagScenario) { s.follow(builders.FromWorkflow(s.workflow()).Stopped().Obj()) },
			reason: v1alpha1.ReasonWorkflowStopped, message: "Workflow " + tagWorkflow + " was stopped" + again,
		},
		"a Workflow that failed and is gone": {
			edit:   func(s *tagScenario) { s.status().Reason, s.status().Message = v1alpha1.ReasonTagTaken, "kept" },
			reason: v1alpha1.ReasonTagTaken, message: "kept",
		},
		"a Workflow of the promotion before that failed": {
			edit: func(s *tagScenario) {
				s.status().Reason, s.status().Tag.Workflow = v1alpha1.ReasonTagTaken, "model1-production-9d1f3-1"
			}, reason: v1alpha1.ReasonTagMoving, message: progress,
		},
		"a success without a report": {
			edit:   func(s *tagScenario) { s.follow(builders.FromWorkflow(s.workflow()).Succeeded(report.Report{}).Obj()) },
			reason: v1alpha1.ReasonReportInvalid, message: unproved + "its report is about another Workflow" + again,
		},
		"a success without an image": {
			edit:   func(s *tagScenario) { s.succeed(func(r *report.Report) { r.Image = nil }) },
			reason: v1alpha1.ReasonReportInvalid, message: unproved + "its report does not say to what the tag refers" + again,
		},
		"a success with a failure": {
			edit: func(s *tagScenario) {
				s.succeed(func(r *report.Report) { r.Failure = &report.Failure{Step: "promote", Message: "no"} })
			},
			reason: v1alpha1.ReasonReportInvalid, message: unproved + "step promote reported a failure: no" + again,
		},
		"a success with another tag": {
			edit: func(s *tagScenario) {
				s.succeed(func(r *report.Report) { r.Image.Reference = "modelhub/resnet:latest" })
			},
			reason: v1alpha1.ReasonReportInvalid, message: unproved + `its report is about another tag, "modelhub/resnet:latest"` + again,
		},
		"a success with another digest": {
			edit:   func(s *tagScenario) { s.succeed(func(r *report.Report) { r.Image.Digest = otherDigest }) },
			reason: v1alpha1.ReasonReportInvalid, message: unproved + `its report says that the tag refers to "` + otherDigest + `"` + again,
		},
		"a Workflow with another digest": {
			edit: func(s *tagScenario) {
				s.follow(builders.FromWorkflow(s.workflow()).Argument(contract.ParamDigest, otherDigest).Succeeded(s.report()).Obj())
			}, reason: v1alpha1.ReasonReportInvalid, message: "Workflow " + tagWorkflow + " does not move the tag " + movedTag + " as the operator does" + again,
		},
		"a Workflow with a proxy": {
			edit: func(s *tagScenario) {
				s.follow(builders.FromWorkflow(s.workflow()).Argument(contract.ParamEnv, "HTTPS_PROXY=http://evil.example.com").Succeeded(s.report()).Obj())
			}, reason: v1alpha1.ReasonReportInvalid, message: "does not move the tag",
		},
		"a Workflow of another template": {
			edit: func(s *tagScenario) {
				wf := builders.FromWorkflow(s.workflow()).Succeeded(s.report()).Obj()
				wf.Spec.WorkflowTemplateRef.Name = contract.BuildTemplate
				s.follow(wf)
			}, reason: v1alpha1.ReasonReportInvalid, message: "does not move the tag",
		},
		"a Workflow whose content is not known": {
			edit: func(s *tagScenario) {
				s.follow(&wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: tagWorkflow}, Status: wfv1.WorkflowStatus{Phase: wfv1.WorkflowSucceeded}})
			}, reason: v1alpha1.ReasonReportInvalid, message: "does not move the tag",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTagScenario(t)
			tt.edit(s)
			step := lifecycle.NextAliases(s.observed, s.opts)
			require.Len(t, step.Status, 1)
			got := step.Status[0]
			assert.Equal(t, tt.reason, got.Reason)
			assert.Contains(t, got.Message, tt.message)
			assert.Equal(t, tt.message == "", got.Message == "")
			want := v1alpha1.AliasTag{Workflow: tagWorkflow}
			image := "modelhub/resnet:v1"
			if tt.moved {
				want.Digest, image = builders.Digest, movedTag
			}
			assert.Equal(t, &want, got.Tag)
			assert.Equal(t, image, got.Image)
			if !tt.created {
				assert.Empty(t, step.Create)
				return
			}
			created := s.workflow()
			created.UID = ""
			assert.Equal(t, map[string]*wfv1.Workflow{"production": created}, step.Create)
		})
	}
	t.Run("no tag any more", func(t *testing.T) {
		s := newTagScenario(t)
		s.observed.Model.Spec.Aliases[0].Tag = false
		got := lifecycle.NextAliases(s.observed, s.opts).Status[0]
		assert.Nil(t, got.Tag)
		assert.Empty(t, got.Reason)
	})
	t.Run("an alias that cannot be resolved keeps its tag", func(t *testing.T) {
		s := newTagScenario(t)
		s.status().Tag.Digest, s.status().Image = builders.Digest, movedTag
		s.observed.Versions = nil
		step := lifecycle.NextAliases(s.observed, s.opts)
		assert.Equal(t, s.status().Tag, step.Status[0].Tag)
		assert.Equal(t, movedTag, step.Status[0].Image)
		assert.Empty(t, step.Create)
	})
}

func TestLacksTagWorkflow(t *testing.T) {
	for name, tt := range map[string]struct {
		alias    v1alpha1.AliasStatus
		observed lifecycle.ObservedTag
		want     bool
	}{
		"no tag":                 {},
		"a tag to move":          {alias: v1alpha1.AliasStatus{Tag: &v1alpha1.AliasTag{Workflow: "a"}}, want: true},
		"a tag that was moved":   {alias: v1alpha1.AliasStatus{Tag: &v1alpha1.AliasTag{Workflow: "a", Digest: builders.Digest}}},
		"a Workflow that exists": {alias: v1alpha1.AliasStatus{Tag: &v1alpha1.AliasTag{Workflow: "a"}}, observed: lifecycle.ObservedTag{Workflow: &wfv1.Workflow{}}},
		"a Workflow that failed": {alias: v1alpha1.AliasStatus{Tag: &v1alpha1.AliasTag{Workflow: "a"}, Reason: v1alpha1.ReasonRegistryUnauthorized}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, lifecycle.LacksTagWorkflow(&tt.alias, tt.observed)) })
	}
}
