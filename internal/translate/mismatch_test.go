package translate_test

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/test/builders"
)

// argo resubmit -p and argo retry -p change arguments. What such a Workflow
// proves is proof of something else.
func TestABuildOfSomethingElseIsNoneOfTheVersion(t *testing.T) {
	local := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane").Obj()
	claim := builders.MakeModelVersion("mv-3", "default").Claim("models", "resnet/1").Obj()
	for name, tc := range map[string]struct {
		version          *v1alpha1.ModelVersion
		parameter, value string
	}{
		"another tag":                         {local, translate.ParamImage, "modelhub/resnet:v2"},
		"another repository":                  {local, translate.ParamImage, "modelhub/bert:v1c072"},
		"another registry":                    {local, translate.ParamImage, "registry.example.com/modelhub/resnet:v1c072"},
		"no image":                            {local, translate.ParamImage, ""},
		"another folder":                      {local, translate.ParamStoragePath, "/bar"},
		"the same folder of another node":     {local, translate.ParamNodeName, "node-2"},
		"another kind of storage":             {local, translate.ParamStorageKind, "persistentVolumeClaim"},
		"another claim":                       {claim, translate.ParamClaimName, "datasets"},
		"another folder of the claim":         {claim, translate.ParamSubPath, "resnet/2"},
		"the whole claim instead of a folder": {claim, translate.ParamSubPath, ""},
		"another Model":                       {local, translate.ParamModel, "bert"},
		"another version":                     {local, translate.ParamModelVersion, "mv-4"},
		"another UID":                         {local, translate.ParamModelVersionUID, "7a6a5a3c-8a41-4f0b-9c36-5d2e7f1a0b94"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(tc.version, 1).Argument(tc.parameter, tc.value)
			built := wf.Succeeded(wf.Report()).Obj()

			got := translate.NextStep(translate.Observed{Version: tc.version, Workflows: []*wfv1.Workflow{built}, TemplateFound: true}, options)

			mv := after(tc.version, got)
			assert.Equal(t, v1alpha1.ImageBuildFailed, mv.Status.ImageBuildPhase)
			assert.Empty(t, mv.Status.Image)
			assert.Empty(t, mv.Status.Digest)
			assert.Contains(t, mv.Status.Message, "is not a build of this version: its argument "+tc.parameter+` is "`+tc.value+`"`)
		})
	}
}

func TestHowAVersionIsBuiltMayDiffer(t *testing.T) {
	claim := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
	moved := claim.DeepCopy()
	moved.Status.Image = "old.example.com/modelhub/resnet:v1c072"
	for name, tc := range map[string]struct {
		version          *v1alpha1.ModelVersion
		parameter, value string
	}{
		"more memory":                      {claim, translate.ParamLimits, "memory=8Gi"},
		"another node for a claim":         {claim, translate.ParamNodeName, "node-2"},
		"a longer automatic tag":           {claim, translate.ParamImage, "modelhub/resnet:v1c072d5e"},
		"the default registry of its time": {moved, translate.ParamImage, "old.example.com/modelhub/resnet:v1c072"},
	} {
		t.Run(name, func(t *testing.T) {
			wf := builders.MakeWorkflow(claim, 1).Argument(tc.parameter, tc.value)
			built := wf.Succeeded(wf.Report()).Obj()

			got := translate.NextStep(translate.Observed{Version: tc.version, Workflows: []*wfv1.Workflow{built}, TemplateFound: true}, options)

			assert.Equal(t, v1alpha1.ImageBuildSucceeded, got.Status.ImageBuildPhase, got.Status.Message)
		})
	}
}
