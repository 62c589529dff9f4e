package controller

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// What a user can write into a Workflow, in the seeds and in what becomes of them.
const (
	anyMessage = `"$MESSAGE"`
	anyReport  = `"$REPORT"`
	anyTime    = `"$TIME"`
)

// maxStatus is more than any status of a ModelVersion has, in bytes.
const maxStatus = 16 << 10

// Whatever a user writes into the status of a Workflow, the ModelVersion gets a
// status that the API server accepts, of bounded length, that can be printed.
func FuzzWorkflow(f *testing.F) {
	schema := statusSchema(f)
	made := builders.MakeWorkflow(fuzzedVersion(), 1)
	failure := made.FailureReport(contract.StepBuild, v1alpha1.ReasonBuildFailed, "$MESSAGE")
	for _, seed := range []*builders.WorkflowWrapper{
		builders.MakeWorkflow(fuzzedVersion(), 1),
		builders.MakeWorkflow(fuzzedVersion(), 1).Pending("$MESSAGE"),
		builders.MakeWorkflow(fuzzedVersion(), 1).Running(contract.StepBuild).Progress("5/10"),
		builders.MakeWorkflow(fuzzedVersion(), 1).FailedTry(failure),
		builders.MakeWorkflow(fuzzedVersion(), 1).Failed(failure),
		builders.MakeWorkflow(fuzzedVersion(), 1).Succeeded(made.Report()),
		builders.MakeWorkflow(fuzzedVersion(), 1).Errored("$MESSAGE"),
		builders.MakeWorkflow(fuzzedVersion(), 1).TryFailedWithoutPod("$MESSAGE"),
		builders.MakeWorkflow(fuzzedVersion(), 1).TerminatedWhileWaitingForLock(),
		builders.MakeWorkflow(fuzzedVersion(), 1).DeadlineExceeded(),
	} {
		status, err := json.Marshal(seed.Obj().Status)
		require.NoError(f, err)
		text := strings.ReplaceAll(string(status), `"2026-03-01T12:00:00Z"`, anyTime)
		f.Add(text, "OOMKilled", `{"failure":{"step":"build","reason":"A","message":"b"}}`, "2026-03-01T12:00:00Z", "1")
		f.Add(text, "pod deleted\x1b[2J\u202e", `{"image":{"bytes":-1}}`, "9999-12-31T23:59:59-23:00", "9223372036854775807")
	}
	f.Add(`{"phase":"Failed","nodes":{"a":{"type":"Pod","phase":"Failed","message":"$MESSAGE","startedAt":"$TIME"}},"startedAt":"$TIME","finishedAt":"$TIME"}`, strings.Repeat("é", 40_000), "", "0000-01-01T00:00:00+23:00", "-1")
	f.Add(`{"phase":"$MESSAGE","message":"$MESSAGE","progress":"$MESSAGE"}`, strings.Repeat("a", 40_000), "", "", "")
	f.Add(`{"phase":"Running","nodes":{"a":{"id":"a","type":"Retry","phase":"Running","children":["a","a","b"]},"b":{"id":"a","boundaryID":"b","type":"Pod","phase":"Pending","progress":"1/0"}}}`, "", "", "", "")

	f.Fuzz(func(t *testing.T, status, message, report, at, number string) {
		content := strings.NewReplacer(anyMessage, quoted(message), anyReport, quoted(report), anyTime, quoted(at)).Replace(status)
		if !json.Valid([]byte(content)) {
			return
		}
		for _, mv := range []*v1alpha1.ModelVersion{fuzzedVersion(), startedVersion()} {
			raw := storedWithStatus(t, json.RawMessage(content), message, number)
			budget := maxPassValues
			wf, err := decodeWorkflow(raw, &budget)
			observed := lifecycle.Observed{Version: mv, TemplateFound: true, Now: builders.Epoch.Add(time.Hour)}
			if err != nil {
				var invalid errInvalidWorkflow
				require.ErrorAs(t, err, &invalid)
				observed.Invalid = &lifecycle.InvalidWorkflow{Name: "mv-3-1c072-1", Message: err.Error()}
			} else {
				observed.Workflows = []*wfv1.Workflow{wf}
				observed.Followed = lifecycle.SelectWorkflow(observed, fuzzedOptions)
			}
			assertStorable(t, schema, lifecycle.NextStep(observed, fuzzedOptions).Status)
			assertStorable(t, schema, lifecycle.Unstorable(mv, message))
		}
	})
}

var fuzzedOptions = config.Default().Options()

func fuzzedVersion() *v1alpha1.ModelVersion {
	return builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
}

// startedVersion returns the ModelVersion after its Workflow was created.
func startedVersion() *v1alpha1.ModelVersion {
	mv := fuzzedVersion()
	created := builders.MakeWorkflow(mv, 1).Obj()
	observed := lifecycle.Observed{Version: mv, TemplateFound: true, Workflows: []*wfv1.Workflow{created}, Followed: created}
	mv.Status = lifecycle.NextStep(observed, fuzzedOptions).Status
	return mv
}

// storedWithStatus returns the first Workflow of the ModelVersion, as the API server
// stores it, with a status, and with what a user wrote into its metadata.
func storedWithStatus(t *testing.T, status json.RawMessage, text, number string) []byte {
	t.Helper()
	wf := builders.MakeWorkflow(fuzzedVersion(), 1).Obj()
	wf.Annotations[v1alpha1.AnnotationRebuild] = text
	for _, annotation := range workflow.Annotations() {
		if annotation != v1alpha1.AnnotationRebuild {
			wf.Annotations[annotation] = number
		}
	}
	wf.Labels[v1alpha1.LabelAttempt] = number
	raw, err := json.Marshal(wf)
	require.NoError(t, err)
	fields := map[string]json.RawMessage{}
	require.NoError(t, json.Unmarshal(raw, &fields))
	fields["status"] = status
	raw, err = json.Marshal(fields)
	require.NoError(t, err)
	return raw
}

func quoted(text string) string {
	raw, _ := json.Marshal(text) // A string has a JSON form.
	return string(raw)
}

// statusSchema returns the validator of the status in the CRD.
func statusSchema(f *testing.F) *validate.SchemaValidator {
	f.Helper()
	raw, err := os.ReadFile("../../deploy/crd/model.kubedl.io_modelversions.yaml")
	require.NoError(f, err)
	var crd apiextensionsv1.CustomResourceDefinition
	require.NoError(f, yaml.Unmarshal(raw, &crd))
	raw, err = json.Marshal(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"])
	require.NoError(f, err)
	var schema spec.Schema
	require.NoError(f, json.Unmarshal(raw, &schema))
	return validate.NewSchemaValidator(&schema, nil, "status", strfmt.Default)
}

// assertStorable asserts that the API server accepts a status, and that the status is
// short and can be printed.
func assertStorable(t *testing.T, schema *validate.SchemaValidator, status v1alpha1.ModelVersionStatus) {
	t.Helper()
	// As patchStatus does.
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = metav1.NewTime(builders.Epoch)
	}
	if status.FinishTime != nil && status.FinishTime.IsZero() {
		*status.FinishTime = metav1.NewTime(builders.Epoch)
	}
	raw, err := json.Marshal(status)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(raw), maxStatus)
	var object any
	require.NoError(t, kjson.UnmarshalCaseSensitivePreserveInts(raw, &object))
	require.NoError(t, schema.Validate(object).AsError(), "%s", raw)
	forEachText(object, func(text string) {
		assert.NotContains(t, text, "\ufffd")
		assert.Equal(t, -1, strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }), "%q", text)
	})
}

// forEachText calls do with every text in a decoded JSON value.
func forEachText(value any, do func(string)) {
	switch v := value.(type) {
	case string:
		do(v)
	case []any:
		for _, item := range v {
			forEachText(item, do)
		}
	case map[string]any:
		for _, item := range v {
			forEachText(item, do)
		}
	}
}
