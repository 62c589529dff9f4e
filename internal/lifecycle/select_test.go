package lifecycle_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestSelectWorkflow(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	at := func(minutes int) time.Time { return builders.Epoch.Add(time.Duration(minutes) * time.Minute) }
	first := builders.MakeWorkflow(mv, 1).Created(at(1)).FailedWithoutReport(contract.StepBuild)
	second := builders.MakeWorkflow(mv, 2).Created(at(2)).FailedWithoutReport(contract.StepBuild)
	sameSecond := builders.MakeWorkflow(mv, 3).Created(at(2)).FailedWithoutReport(contract.StepBuild)

	for name, tc := range map[string]struct {
		workflows []*builders.WorkflowWrapper
		want      string
	}{
		"none":                             {nil, ""},
		"newest":                           {[]*builders.WorkflowWrapper{first, second}, "mv-3-1c072-2"},
		"older one retried":                {[]*builders.WorkflowWrapper{builders.FromWorkflow(first.Obj()).Retried(at(3)), second}, "mv-3-1c072-1"},
		"resubmitted":                      {[]*builders.WorkflowWrapper{first.Resubmitted("x7k2p", at(3)), second}, "mv-3-1c072-1-x7k2p"},
		"later attempt in the same second": {[]*builders.WorkflowWrapper{sameSecond, second}, "mv-3-1c072-3"},
		"last by name of two resubmits in the same second": {[]*builders.WorkflowWrapper{first.Resubmitted("bbbbb", at(3)), first.Resubmitted("aaaaa", at(3))}, "mv-3-1c072-1-bbbbb"},
		"not started, newest by creation":                  {[]*builders.WorkflowWrapper{first, builders.MakeWorkflow(mv, 4).Created(at(4))}, "mv-3-1c072-4"},
	} {
		t.Run(name, func(t *testing.T) {
			var workflows []*wfv1.Workflow
			for _, w := range tc.workflows {
				workflows = append(workflows, w.Obj())
			}
			got := ""
			if newest := lifecycle.SelectWorkflow(lifecycle.Observed{Version: mv, Workflows: workflows}, options); newest != nil {
				got = newest.Name
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

// The second attempt was created at minute 2 and has failed. Argo's clock, or that of the
// machine from which a user retries, was ten minutes ahead or behind.
func TestSelectWorkflowClocks(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	at := func(minutes int) time.Time { return builders.Epoch.Add(time.Duration(minutes) * time.Minute) }
	timeAt := func(minutes int) *metav1.Time { return ptr.To(metav1.NewTime(at(minutes))) }
	first := builders.MakeWorkflow(mv, 1).Created(at(1)).FailedWithoutReport(contract.StepBuild).Obj()
	second := builders.MakeWorkflow(mv, 2).Created(at(2)).FailedWithoutReport(contract.StepBuild).Obj()
	resubmitted := builders.FromWorkflow(second).Resubmitted("x7k2p", at(3))

	for name, tc := range map[string]struct {
		started  int // The second attempt, by Argo's clock.
		finished bool
		other    *wfv1.Workflow
		want     string
	}{
		"ahead, then corrected: resubmitted":               {12, true, resubmitted.Obj(), "mv-3-1c072-2-x7k2p"},
		"ahead, then corrected: resubmit has succeeded":    {12, true, resubmitted.Succeeded(resubmitted.Report()).Obj(), "mv-3-1c072-2-x7k2p"},
		"ahead, then corrected: resubmit of a running one": {12, false, resubmitted.Obj(), "mv-3-1c072-2-x7k2p"},
		"behind: resubmitted":                              {-8, true, resubmitted.Obj(), "mv-3-1c072-2-x7k2p"},
		"retried from a machine that is behind":            {2, true, builders.FromWorkflow(first).Retried(at(-7)).Obj(), "mv-3-1c072-1"},
		"retried from a machine that is ahead":             {2, true, builders.FromWorkflow(first).Retried(at(13)).Obj(), "mv-3-1c072-1"},
		"the first attempt is history":                     {-8, true, first, "mv-3-1c072-2"},
		"the first attempt was ahead":                      {2, true, startedAt(first, at(11)), "mv-3-1c072-2"},
	} {
		t.Run(name, func(t *testing.T) {
			version := mv.DeepCopy()
			version.Status = v1alpha1.ModelVersionStatus{
				Workflow: &v1alpha1.WorkflowStatus{Name: second.Name, UID: string(second.UID)}, Attempts: 2,
				LatestAttemptTime: timeAt(2), StartTime: timeAt(max(tc.started, 11)),
			}
			if tc.finished {
				version.Status.FinishTime = timeAt(tc.started + 1)
			}
			got := lifecycle.SelectWorkflow(lifecycle.Observed{Version: version, Workflows: []*wfv1.Workflow{first, startedAt(second, at(tc.started)), tc.other}}, options)
			require.NotNil(t, got)
			assert.Equal(t, tc.want, got.Name)
		})
	}
}

func startedAt(wf *wfv1.Workflow, when time.Time) *wfv1.Workflow {
	wf = wf.DeepCopy()
	wf.Status.StartedAt = metav1.NewTime(when)
	return wf
}

// argo resubmit -p and argo retry -p change arguments. Such a Workflow does not
// prove that this ModelVersion was built.
func TestSelectWorkflowOtherArguments(t *testing.T) {
	local := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	claim := builders.MakeModelVersion("mv-3", "default").Claim("models", "resnet/1").Obj()
	for name, tc := range map[string]struct {
		version          *v1alpha1.ModelVersion
		parameter, value string
	}{
		"another tag":                        {local, contract.ParamImage, "modelhub/resnet:v2"},
		"another repository":                 {local, contract.ParamImage, "modelhub/bert:v1c072"},
		"another registry":                   {local, contract.ParamImage, "registry.example.com/modelhub/resnet:v1c072"},
		"no image":                           {local, contract.ParamImage, ""},
		"another directory":                  {local, contract.ParamStoragePath, "/bar"},
		"same directory on another node":     {local, contract.ParamNodeName, "node-2"},
		"another kind of storage":            {local, contract.ParamStorageKind, "persistentVolumeClaim"},
		"another claim":                      {claim, contract.ParamClaimName, "datasets"},
		"another directory of the claim":     {claim, contract.ParamSubPath, "resnet/2"},
		"whole claim instead of a directory": {claim, contract.ParamSubPath, ""},
		"another Model":                      {local, contract.ParamModel, "bert"},
		"another ModelVersion":               {local, contract.ParamModelVersion, "mv-4"},
		"another UID":                        {local, contract.ParamModelVersionUID, "7a6a5a3c-8a41-4f0b-9c36-5d2e7f1a0b94"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(tc.version, 1).Argument(tc.parameter, tc.value)
			built := wf.Succeeded(wf.Report()).Obj()

			assert.Nil(t, selectWorkflow(tc.version, built))
		})
	}
}

// What Argo refuses under Strict template referencing can replace what the template
// does. The list of its exceptions is ValidateUserOverrides in v3.7.18.
func TestSelectWorkflowOtherSpec(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	allowed := []string{
		"WorkflowTemplateRef", "Arguments", "Shutdown", "Suspend", "ActiveDeadlineSeconds", "Priority",
		"TTLStrategy", "PodGC", "VolumeClaimGC", "ArtifactGC", "ArchiveLogs", "WorkflowMetadata", "Metrics",
	}
	for field, value := range reflect.ValueOf(&wfv1.WorkflowSpec{}).Elem().Fields() {
		t.Run(field.Name, func(t *testing.T) {
			built := builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()
			require.NotNil(t, selectWorkflow(mv, built))

			set := reflect.ValueOf(&built.Spec).Elem().FieldByIndex(field.Index)
			if set.IsZero() {
				set.Set(notZero(t, value.Type()))
			}
			if slices.Contains(allowed, field.Name) {
				assert.NotNil(t, selectWorkflow(mv, built))
			} else {
				assert.Nil(t, selectWorkflow(mv, built))
			}
		})
	}
}

// notZero returns a value of a field's type that is not its zero value.
func notZero(t *testing.T, of reflect.Type) reflect.Value {
	t.Helper()
	value := reflect.New(of).Elem()
	switch of.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(of.Elem()))
	case reflect.Slice:
		value.Set(reflect.MakeSlice(of, 1, 1))
	case reflect.Map:
		value.Set(reflect.MakeMap(of))
		value.SetMapIndex(reflect.New(of.Key()).Elem(), reflect.New(of.Elem()).Elem())
	case reflect.String:
		value.SetString("forge")
	default:
		require.Failf(t, "a field of a kind that is not expected", "%s", of)
	}
	return value
}

func TestSelectWorkflowOtherTemplate(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	scanning := options
	scanning.NamespaceTemplates = map[string]string{"default": "platform-scan"}
	named := mv.DeepCopy()
	named.Spec.Build = &v1alpha1.Build{WorkflowTemplate: "team-build"}
	for name, tc := range map[string]struct {
		version  *v1alpha1.ModelVersion
		opts     workflow.Options
		template string
		marked   bool
		want     bool
	}{
		"the platform's":                       {mv, options, "modelkiln-build", false, true},
		"the platform's for the namespace":     {mv, scanning, "platform-scan", false, true},
		"default instead of the namespace's":   {mv, scanning, "modelkiln-build", false, false},
		"another engine's":                     {mv, options, "modelkiln-build-stream", false, false},
		"a user's own":                         {mv, options, "forge", true, false},
		"the ModelVersion's, marked":           {named, options, "team-build", true, true},
		"the ModelVersion's, not marked":       {named, options, "team-build", false, false},
		"the platform's instead of the named":  {named, options, "modelkiln-build", true, false},
		"marked one of another one's template": {named, options, "other-build", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			built := builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()
			built.Spec.WorkflowTemplateRef = &wfv1.WorkflowTemplateRef{Name: tc.template, ClusterScope: true}

			got := lifecycle.SelectWorkflow(lifecycle.Observed{Version: tc.version, Workflows: []*wfv1.Workflow{built}, TemplateMarked: tc.marked}, tc.opts)
			assert.Equal(t, tc.want, got != nil)
		})
	}

	t.Run("of a namespace", func(t *testing.T) {
		built := builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()
		built.Spec.WorkflowTemplateRef.ClusterScope = false
		assert.Nil(t, selectWorkflow(mv, built))
	})
	t.Run("none", func(t *testing.T) {
		built := builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()
		built.Spec.WorkflowTemplateRef = nil
		assert.Nil(t, selectWorkflow(mv, built))
	})
	t.Run("artifact collection by another account", func(t *testing.T) {
		built := builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()
		built.Spec.ArtifactGC = &wfv1.WorkflowLevelArtifactGC{ArtifactGC: wfv1.ArtifactGC{ServiceAccountName: "admin"}}
		assert.Nil(t, selectWorkflow(mv, built))
	})
}

// What decides the content of an image beside the model's files is what the spec and
// the configuration ask for, or what the attempt before had.
func TestSelectWorkflowOtherSettings(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Build = &v1alpha1.Build{Engine: v1alpha1.Stream}
	s.failed()
	opts := options
	opts.Pods.Env = map[string]string{"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": ".svc"}
	first := s.observed.Workflows[0]
	other := builders.MakeModelVersion("mv-2", "default").Built("modelhub/resnet:v2", builders.Digest).Obj()
	elsewhere := builders.MakeModelVersion("mv-3", "default").ExistingImage("v3", builders.Digest).Built("modelhub/resnet-ci:v3", builders.Digest).Obj()
	s.observed.Versions = []v1alpha1.ModelVersion{*other, *elsewhere}

	for name, tc := range map[string]struct {
		parameter, value string
		want             bool
	}{
		"proxy":                       {contract.ParamEnv, "HTTPS_PROXY=http://forge.example.com", false},
		"configured proxy":            {contract.ParamEnv, "HTTPS_PROXY=http://proxy.example.com:3128", true},
		"base image":                  {contract.ParamBaseImage, "registry.example.com/forge:1", false},
		"host over plain HTTP":        {contract.ParamPlainHTTPRegistries, "registry.example.com", false},
		"change detection":            {contract.ParamChangeDetection, string(v1alpha1.ChangesInModTime), false},
		"known digest":                {contract.ParamKnownDigest, builders.Digest, false},
		"previous image":              {contract.ParamPreviousImage, "modelhub/forge@" + builders.Digest, false},
		"previous image of the Model": {contract.ParamPreviousImage, "modelhub/resnet@" + builders.Digest, true},
		"image from elsewhere":        {contract.ParamPreviousImage, "modelhub/resnet-ci@" + builders.Digest, false},
		"time of creation":            {contract.ParamCreated, "2099-01-01T00:00:00Z", false},
		"no time of creation, as of earlier versions of the operator": {contract.ParamCreated, "", true},
		"directory in the image":             {contract.ParamModelPath, "/models", false},
		"files that are included":            {contract.ParamInclude, "*.json", false},
		"files that are excluded":            {contract.ParamExclude, "*.safetensors", false},
		"links":                              {contract.ParamSymlinks, string(v1alpha1.FollowSymlinks), false},
		"completeness":                       {contract.ParamCompletenessCheck, string(v1alpha1.SkipCompleteness), false},
		"commit":                             {contract.ParamKnownRevision, strings.Repeat("1", 40), false},
		"creator":                            {contract.ParamCreatedBy, "somebody", false},
		"nothing that decides about content": {contract.ParamLimits, "memory=8Gi", true},
	} {
		t.Run(name, func(t *testing.T) {
			resubmitted := builders.FromWorkflow(first).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Argument(tc.parameter, tc.value)
			o := s.observed
			o.Workflows = []*wfv1.Workflow{first, resubmitted.Succeeded(resubmitted.Report()).Obj()}

			followed := lifecycle.SelectWorkflow(o, opts)
			require.NotNil(t, followed)
			assert.Equal(t, tc.want, followed != first)
		})
	}
}

// Of these arguments, Argo uses other values than the operator reads, although it
// accepts them when its template referencing is Strict.
func TestSelectWorkflowOtherFormsOfArguments(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	fromConfigMap := wfv1.Parameter{Name: contract.ParamSubPath, ValueFrom: &wfv1.ValueFrom{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "forge"}, Key: "dir"},
	}}
	for name, change := range map[string]func(*wfv1.Arguments){
		"a value from a ConfigMap": func(a *wfv1.Arguments) { a.Parameters = append(a.Parameters, fromConfigMap) },
		"a second value for a parameter": func(a *wfv1.Arguments) {
			a.Parameters = append(a.Parameters, wfv1.Parameter{Name: contract.ParamStoragePath, Value: wfv1.AnyStringPtr("/bar")})
		},
		"an artifact": func(a *wfv1.Arguments) { a.Artifacts = wfv1.Artifacts{{Name: "model"}} },
	} {
		t.Run(name, func(t *testing.T) {
			built := builders.MakeWorkflow(mv, 1).Succeeded(makeWorkflow().Report()).Obj()
			require.NotNil(t, selectWorkflow(mv, built))

			change(&built.Spec.Arguments)

			assert.Nil(t, selectWorkflow(mv, built))
		})
	}
}

// The lines of one argument do not pass for other arguments.
func TestSelectWorkflowOtherLines(t *testing.T) {
	s := newScenario(t)
	s.mv().Spec.Build = &v1alpha1.Build{Include: []v1alpha1.FilePattern{"*.bin"}, Exclude: []v1alpha1.FilePattern{"secret.bin"}}
	s.failed()
	first := s.observed.Workflows[0]
	resubmitted := func() *builders.WorkflowWrapper {
		return builders.FromWorkflow(first).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour))
	}
	follows := func(w *builders.WorkflowWrapper) bool {
		o := s.observed
		o.Workflows = []*wfv1.Workflow{first, w.Succeeded(w.Report()).Obj()}
		return lifecycle.SelectWorkflow(o, s.opts) != first
	}
	require.True(t, follows(resubmitted()))
	assert.False(t, follows(resubmitted().Argument(contract.ParamInclude, "*.bin\nexclude=secret.bin").Argument(contract.ParamExclude, "")))
	assert.False(t, follows(resubmitted().Argument(contract.ParamInclude, `*.bin\nexclude=secret.bin`).Argument(contract.ParamExclude, "")))
}

// An attempt is still followed when spec.build or the configuration changes: the
// next one has the new settings. A resubmit of it has the old ones too.
func TestSelectWorkflowChangedSettings(t *testing.T) {
	for name, change := range map[string]func(*scenario, *workflow.Options){
		"spec.build.baseImage": func(s *scenario, _ *workflow.Options) {
			s.mv().Spec.Build = &v1alpha1.Build{BaseImage: "docker.io/library/debian:13"}
		},
		"spec.build.workflowTemplate": func(s *scenario, _ *workflow.Options) {
			s.mv().Spec.Build = &v1alpha1.Build{WorkflowTemplate: "team-build"}
		},
		"spec.build.engine": func(s *scenario, _ *workflow.Options) {
			s.mv().Spec.Build = &v1alpha1.Build{Engine: v1alpha1.Stream}
		},
		"base image of the configuration": func(_ *scenario, opts *workflow.Options) { opts.BaseImage = "docker.io/library/debian:13" },
		"proxy of the configuration": func(_ *scenario, opts *workflow.Options) {
			opts.Pods.Env = map[string]string{"HTTPS_PROXY": "http://other.example.com"}
		},
		"template of the configuration": func(_ *scenario, opts *workflow.Options) { opts.WorkflowTemplate = "platform-scan" },
	} {
		t.Run(name, func(t *testing.T) {
			s, opts := newScenario(t), options
			s.opts.Pods.Env = map[string]string{"HTTPS_PROXY": "http://proxy.example.com:3128"}
			s.started()
			change(s, &opts)

			assert.Equal(t, s.observed.Workflows[0], lifecycle.SelectWorkflow(s.observed, opts))
			s.observed.Workflows = append(s.observed.Workflows, builders.FromWorkflow(s.observed.Workflows[0]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj())
			assert.Equal(t, s.observed.Workflows[1], lifecycle.SelectWorkflow(s.observed, opts))
		})
	}
}

// The default base image is another one after an upgrade, and the status of the release
// before has no hash. Neither the running build is started again, nor is a resubmit of
// a failed one ignored.
func TestSelectWorkflowAfterUpgrade(t *testing.T) {
	s, opts := newScenario(t), options
	s.started()
	s.mv().Status.Workflow.BuildHash = ""
	opts.BaseImage = "docker.io/library/debian:13"
	first := s.observed.Workflows[0]
	assert.Equal(t, first, lifecycle.SelectWorkflow(s.observed, opts))

	s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "/foo holds no file"))
	assert.Equal(t, workflow.BuildHash(first), s.mv().Status.Workflow.BuildHash)
	again := builders.FromWorkflow(first).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj()
	s.observed.Workflows = append(s.observed.Workflows, again)
	assert.Equal(t, again, lifecycle.SelectWorkflow(s.observed, opts))
}

// selectWorkflow returns the Workflow if the ModelVersion follows it.
func selectWorkflow(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow) *wfv1.Workflow {
	return lifecycle.SelectWorkflow(lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}}, options)
}

func TestSelectWorkflowIgnoresForeignBuild(t *testing.T) {
	s := newScenario(t)
	s.started()
	own := s.observed.Workflows[0]
	other := builders.FromWorkflow(own).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Argument(contract.ParamImage, "modelhub/resnet:v2")
	s.observed.Workflows = []*wfv1.Workflow{other.Succeeded(other.Report()).Obj(), own}

	assert.Nil(t, s.pass())
	assert.Equal(t, v1alpha1.ImageBuilding, s.mv().Status.ImageBuildPhase)
	assert.Nil(t, s.updatePass(succeeding))
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, s.mv().Status.ImageBuildPhase)
	assert.Equal(t, "modelhub/resnet:v1c072", s.mv().Status.Image)
}

func TestSelectWorkflowAllowedDifferences(t *testing.T) {
	claim := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
	moved := claim.DeepCopy()
	moved.Status.Image = "old.example.com/modelhub/resnet:v1c072"
	for name, tc := range map[string]struct {
		version          *v1alpha1.ModelVersion
		parameter, value string
	}{
		"more memory":                                  {claim, contract.ParamLimits, "memory=8Gi"},
		"another node for a claim":                     {claim, contract.ParamNodeName, "node-2"},
		"longer automatic tag":                         {claim, contract.ParamImage, "modelhub/resnet:v1c072d5e"},
		"default registry of an earlier configuration": {moved, contract.ParamImage, "old.example.com/modelhub/resnet:v1c072"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(claim, 1).Argument(tc.parameter, tc.value)
			built := wf.Succeeded(wf.Report()).Obj()

			got := nextStep(lifecycle.Observed{Version: tc.version, Workflows: []*wfv1.Workflow{built}, TemplateFound: true}, options)

			assert.Equal(t, v1alpha1.ImageBuildSucceeded, got.Status.ImageBuildPhase, got.Status.Message)
		})
	}
}

func TestNextStepHistoryLimit(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	at := func(minutes int) time.Time { return builders.Epoch.Add(time.Duration(minutes) * time.Minute) }
	var workflows []*wfv1.Workflow
	for i := range 9 {
		wf := builders.MakeWorkflow(mv, int64(i+1)).Created(at(i))
		if i%2 == 0 {
			wf = wf.FailedWithoutReport(contract.StepBuild)
		} else {
			wf = wf.Succeeded(wf.Report())
		}
		workflows = append(workflows, wf.Obj())
	}
	running := builders.MakeWorkflow(mv, 10).Created(at(10)).Running(contract.StepBuild).Obj()

	for name, tc := range map[string]struct {
		limits    workflow.History
		workflows []*wfv1.Workflow
		want      []string
	}{
		"no finished Workflow":      {workflow.History{}, append(workflows[:4:4], running), []string{"mv-3-1c072-1", "mv-3-1c072-2", "mv-3-1c072-3", "mv-3-1c072-4"}},
		"newest of each result":     {workflow.History{Succeeded: 1, Failed: 2}, append(workflows[:8:8], running), []string{"mv-3-1c072-1", "mv-3-1c072-2", "mv-3-1c072-3", "mv-3-1c072-4", "mv-3-1c072-6"}},
		"fewer than the limits":     {workflow.History{Succeeded: 3, Failed: 3}, append(workflows[:4:4], running), nil},
		"followed Workflow is kept": {workflow.History{}, workflows[:1], nil},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options
			opts.History = tc.limits
			var got []string
			for _, wf := range nextStep(lifecycle.Observed{Version: mv, Workflows: tc.workflows, TemplateFound: true}, opts).Delete {
				got = append(got, wf.Name)
			}
			assert.Equal(t, tc.want, got)
		})
	}

	t.Run("Ready ModelVersion", func(t *testing.T) {
		opts := options
		opts.History = workflow.History{Failed: 1}
		ready := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Built("modelhub/resnet:v1c072", builders.Digest).Obj()
		ready.Status.Workflow = &v1alpha1.WorkflowStatus{Name: workflows[5].Name, UID: string(workflows[5].UID)}
		got := nextStep(lifecycle.Observed{Version: ready, Workflows: []*wfv1.Workflow{workflows[0], workflows[2], workflows[4], workflows[5]}}, opts)
		assert.Equal(t, []*wfv1.Workflow{workflows[0], workflows[2]}, got.Delete)
	})
}
