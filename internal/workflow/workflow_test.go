package workflow_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/efs"
	"github.com/modelkiln/modelkiln/internal/hostpath"
	"github.com/modelkiln/modelkiln/internal/nfs"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// Each version in testdata/workflow becomes the Workflow beside it. A case
// that needs the operator configured has its configuration beside it too.
func TestAVersionBecomesAWorkflow(t *testing.T) {
	for name, file := range golden.Cases(t, "workflow", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			golden.ReadYAML(t, file, &mv)

			wf, problem := workflow.New(&mv, workflow.Attempt{Number: 1}, loadOptions(t, golden.Beside(file, ".modelversion.yaml", ".config.yaml")))
			require.Nil(t, problem)
			golden.AssertYAML(t, strings.Replace(file, ".modelversion.", ".workflow.", 1), stored(t, wf))
		})
	}
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
	narrow.HostPaths = hostpath.Rules{Allowed: []string{"/models"}, Denied: []string{"/models/private"}}
	narrow.NFS = nfs.Rules{Allowed: []string{"nas.example.com:/models"}}
	narrow.EFS = efs.Rules{Allowed: []string{"fs-12345678"}}

	type testCase struct {
		mv          *builders.ModelVersionWrapper
		opts        workflow.Options
		wantReason  string
		wantMessage string
	}
	for name, tc := range map[string]testCase{
		"a compression that Kaniko does not have": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Compression(v1alpha1.NoCompression), opts,
			v1alpha1.ReasonInvalidSpec, "The engine Kaniko does not support the compression None: set spec.build.compression to another one, or remove it. Fields under spec.build can be changed (kubectl edit mv -n default mv-3)",
		},
		"a compression that Stream does not have": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Engine(v1alpha1.Stream).Compression(v1alpha1.Gzip), opts,
			v1alpha1.ReasonInvalidSpec, "The engine Stream does not support the compression Gzip",
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
			v1alpha1.ReasonSourceForbidden, "(allowedNFS): put the model into nas.example.com:/models, or have the platform team allow it. Create a new ModelVersion with files in another place",
		},
		"a folder of NFS that Argo would expand": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/{{workflow.uid}}"), opts,
			v1alpha1.ReasonInvalidSpec, `nfs-path must not contain "{{" or "}}"`,
		},
		"EFS without a handle": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs(""), opts,
			v1alpha1.ReasonInvalidSpec, "AWSEfs needs volumeHandle",
		},
		"EFS where nothing of it is allowed": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678"), opts,
			v1alpha1.ReasonSourceForbidden, "(allowedEFS is empty): copy the model to another kind of storage, or have the platform team allow it. Create a new ModelVersion with files in another place",
		},
		"EFS that is not among what is allowed": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-87654321"), narrow,
			v1alpha1.ReasonSourceForbidden, "put the model into fs-12345678",
		},
		"EFS with an attribute that names another server": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678").AWSEfsAttribute("mounttargetip", "10.0.0.7"), narrow,
			v1alpha1.ReasonSourceForbidden, `the volume attribute "mounttargetip" is not among those`,
		},
		"a claim without a name": {
			builders.MakeModelVersion("mv-3", "default").Claim("", "resnet"), opts,
			v1alpha1.ReasonInvalidSpec, "persistentVolumeClaim needs claimName",
		},
		"a system folder": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/etc/kubernetes", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "/etc/kubernetes is never packaged",
		},
		"the root of the node": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "/ is never packaged",
		},
		"a path that is not clean": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/models/../etc", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "is not an absolute path without '..'",
		},
		"a folder that is not among the allowed ones": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1"), narrow,
			v1alpha1.ReasonSourceForbidden, "put the model below /models",
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
			v1alpha1.ReasonInvalidSpec, `sub-path must not contain "{{" or "}}"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wf, problem := workflow.New(tc.mv.Obj(), workflow.Attempt{Number: 1}, tc.opts)
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
		opts   workflow.Options
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
			wf, problem := workflow.New(mv, workflow.Attempt{Number: 1}, tc.opts)
			if tc.want == "" {
				require.NotNil(t, problem)
				assert.Equal(t, v1alpha1.ReasonInvalidSpec, problem.Reason)
				assert.Equal(t, "No ClusterWorkflowTemplate is configured for the engine Stream in this namespace. To build with the other engine, change spec.build.engine: kubectl edit mv -n default mv-3", problem.Message)
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
			wf, problem := workflow.New(mv, workflow.Attempt{Number: 1, Previous: tc.previous}, config.Default().Options())
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

// loadOptions returns the operator's options with the configuration in a file,
// or the defaults without one.
func loadOptions(t *testing.T, file string) workflow.Options {
	t.Helper()
	c, err := config.Load(file)
	require.NoError(t, err)
	return c.Options()
}
