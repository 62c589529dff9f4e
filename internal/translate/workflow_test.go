package translate_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// Each version in testdata/workflow becomes the Workflow beside it. A case
// that needs the operator configured has its configuration beside it too.
func TestAVersionBecomesAWorkflow(t *testing.T) {
	for name, file := range cases(t, "workflow", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			read(t, file, &mv)

			wf, problem := translate.Workflow(&mv, translate.Attempt{Number: 1}, configured(t, file))
			require.Nil(t, problem)
			golden(t, strings.Replace(file, ".modelversion.", ".workflow.", 1), stored(t, wf))
		})
	}
}

// configured are the operator's options for a case: the defaults, unless a
// configuration lies beside it.
func configured(t *testing.T, file string) translate.Options {
	t.Helper()
	file = strings.Replace(file, ".modelversion.", ".config.", 1)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		file = ""
	}
	c, err := config.Load(file)
	require.NoError(t, err)
	return c.Options()
}

// stored is a Workflow as YAML shows it, without the empty parts that Argo's
// types always write.
func stored(t *testing.T, wf *wfv1.Workflow) map[string]any {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wf)
	require.NoError(t, err)
	delete(object, "status")
	unstructured.RemoveNestedField(object, "metadata", "creationTimestamp")
	return object
}

func TestAVersionThatCannotBeBuiltSaysWhy(t *testing.T) {
	braces := builders.MakeModelVersion("mv-3", "default").Claim("models", "resnet/{{workflow.uid}}")
	opts := config.Default().Options()
	narrow := opts
	narrow.HostPaths = sourcepolicy.HostPathRules{Allowed: []string{"/models"}, Denied: []string{"/models/private"}}
	narrow.NFS = sourcepolicy.NFSRules{Allowed: []string{"nas.example.com:/models"}}
	narrow.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}}

	type testCase struct {
		mv          *builders.ModelVersionWrapper
		opts        translate.Options
		wantReason  string
		wantMessage string
	}
	for name, tc := range map[string]testCase{
		"a compression that Kaniko does not have": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Compression(v1alpha1.NoCompression), opts,
			v1alpha1.ReasonInvalidSpec, "The engine Kaniko cannot make layers with the compression None: name another in spec.build.compression, or leave it out. What is under spec.build can be changed (kubectl edit mv -n default mv-3)",
		},
		"a compression that Stream does not have": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Engine(v1alpha1.Stream).Compression(v1alpha1.Gzip), opts,
			v1alpha1.ReasonInvalidSpec, "The engine Stream cannot make layers with the compression Gzip",
		},
		"no storage": {
			builders.MakeModelVersion("mv-3", "default"), opts,
			v1alpha1.ReasonInvalidSpec, "storage names no kind",
		},
		"a node's folder without its node": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", ""), opts,
			v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName",
		},
		"a node without a folder": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("", "node-1"), opts,
			v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName",
		},
		"NFS without a server": {
			builders.MakeModelVersion("mv-3", "default").NFS("", "/exports"), opts,
			v1alpha1.ReasonInvalidSpec, "nfs needs server and path",
		},
		"NFS without a folder": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", ""), opts,
			v1alpha1.ReasonInvalidSpec, "nfs needs server and path",
		},
		"a folder of NFS that goes up": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/exports/../private"), opts,
			v1alpha1.ReasonSourceForbidden, "is not an absolute path without '..'",
		},
		"an NFS server that is an option to mount": {
			builders.MakeModelVersion("mv-3", "default").NFS("-obind", "/exports"), opts,
			v1alpha1.ReasonSourceForbidden, "is not a host name or an address",
		},
		"an NFS server that is not among the allowed ones": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/private"), narrow,
			v1alpha1.ReasonSourceForbidden, "(allowedNFS): move the model to nas.example.com:/models, or ask the platform team to allow it. Create a new ModelVersion for files in another place",
		},
		"a folder of NFS that Argo would expand": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/{{workflow.uid}}"), opts,
			v1alpha1.ReasonInvalidSpec, "The value of nfs-path holds a pair of braces",
		},
		"EFS without a handle": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs(""), opts,
			v1alpha1.ReasonInvalidSpec, "AWSEfs needs volumeHandle",
		},
		"EFS where nothing of it is allowed": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678"), opts,
			v1alpha1.ReasonSourceForbidden, "(allowedEFS is empty): copy the model to another kind of storage, or ask the platform team to allow it. Create a new ModelVersion for files in another place",
		},
		"EFS that is not among what is allowed": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-87654321"), narrow,
			v1alpha1.ReasonSourceForbidden, "move the model to fs-12345678",
		},
		"EFS with an attribute that names another server": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678").AWSEfsAttribute("mounttargetip", "10.0.0.7"), narrow,
			v1alpha1.ReasonSourceForbidden, `does not allow the volume attribute "mounttargetip"`,
		},
		"a claim without a name": {
			builders.MakeModelVersion("mv-3", "default").Claim("", "resnet"), opts,
			v1alpha1.ReasonInvalidSpec, "persistentVolumeClaim needs claimName",
		},
		"a system folder": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/etc/kubernetes", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "/etc/kubernetes cannot be packaged",
		},
		"the root of the node": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "/ cannot be packaged",
		},
		"a path that is not clean": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/models/../etc", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "is not an absolute path without '..'",
		},
		"a folder that is not among the allowed ones": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1"), narrow,
			v1alpha1.ReasonSourceForbidden, "move the model below /models",
		},
		"a folder that is denied among the allowed ones": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/models/private/1", "node-1"), narrow,
			v1alpha1.ReasonSourceForbidden, "is inside /models/private",
		},
		"no repository": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").ImageRepo(""), opts,
			v1alpha1.ReasonInvalidSpec, "imageRepo is missing",
		},
		"what Argo would expand": {
			braces, opts,
			v1alpha1.ReasonInvalidSpec, "The value of sub-path holds a pair of braces",
		},
	} {
		t.Run(name, func(t *testing.T) {
			wf, problem := translate.Workflow(tc.mv.Obj(), translate.Attempt{Number: 1}, tc.opts)
			require.NotNil(t, problem)
			assert.Nil(t, wf)
			assert.Equal(t, tc.wantReason, problem.Reason)
			assert.Contains(t, problem.Message, tc.wantMessage)
		})
	}
}

func TestTheEngineChoosesTheTemplate(t *testing.T) {
	defaults := config.Default().Options()
	streams := defaults
	streams.Engine = v1alpha1.Stream
	scanned := defaults
	scanned.NamespaceTemplates = map[string]string{"default": "scanned"}
	both := scanned
	both.NamespaceStreamTemplates = map[string]string{"default": "scanned-stream"}
	for name, tc := range map[string]struct {
		engine v1alpha1.BuildEngine
		opts   translate.Options
		want   string
	}{
		"nobody names one":                                   {"", defaults, "modelkiln-build"},
		"the version names Kaniko":                           {v1alpha1.Kaniko, streams, "modelkiln-build"},
		"the version names Stream":                           {v1alpha1.Stream, defaults, "modelkiln-build-stream"},
		"the operator does":                                  {"", streams, "modelkiln-build-stream"},
		"the namespace has a template of its own":            {v1alpha1.Kaniko, scanned, "scanned"},
		"the namespace has one for Stream too":               {v1alpha1.Stream, both, "scanned-stream"},
		"the namespace has none for Stream, so that none is": {v1alpha1.Stream, scanned, ""},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").Engine(tc.engine).Obj()
			wf, problem := translate.Workflow(mv, translate.Attempt{Number: 1}, tc.opts)
			if tc.want == "" {
				require.NotNil(t, problem)
				assert.Equal(t, v1alpha1.ReasonInvalidSpec, problem.Reason)
				assert.Equal(t, "The platform team has chosen no ClusterWorkflowTemplate for the engine Stream in this namespace. To build with the other engine: kubectl edit mv -n default mv-3, under spec.build.engine", problem.Message)
				return
			}
			require.Nil(t, problem)
			assert.Equal(t, tc.want, wf.Spec.WorkflowTemplateRef.Name)
		})
	}
}

func TestStreamIsToldOfTheLatestVersion(t *testing.T) {
	latest := &v1alpha1.LatestVersion{ModelVersion: "mv-2", ImageName: "registry.example.com:5000/modelhub/resnet:v1", Digest: "sha256:00"}
	for name, tc := range map[string]struct {
		engine   v1alpha1.BuildEngine
		previous *v1alpha1.LatestVersion
		want     string
	}{
		"Stream":                    {v1alpha1.Stream, latest, "registry.example.com:5000/modelhub/resnet@sha256:00"},
		"Kaniko":                    {v1alpha1.Kaniko, latest, ""},
		"the first version":         {v1alpha1.Stream, nil, ""},
		"one that KubeDL has built": {v1alpha1.Stream, &v1alpha1.LatestVersion{ImageName: "modelhub/resnet:v1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").Engine(tc.engine).Obj()
			wf, problem := translate.Workflow(mv, translate.Attempt{Number: 1, Previous: tc.previous}, config.Default().Options())
			require.Nil(t, problem)
			got := ""
			for _, parameter := range wf.Spec.Arguments.Parameters {
				if parameter.Name == contract.ParamPreviousImage {
					got = parameter.Value.String()
				}
			}
			assert.Equal(t, tc.want, got)
		})
	}
}
