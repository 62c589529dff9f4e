package workflow_test

import (
	"fmt"
	"slices"
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
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// Each ModelVersion in testdata/workflow has its Workflow next to it, and the
// operator's configuration if the case needs one.
func TestNew(t *testing.T) {
	for name, file := range golden.Cases(t, "workflow", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			golden.ReadYAML(t, file, &mv)

			wf, problem := workflow.New(&mv, workflow.Attempt{Number: 1}, loadOptions(t, golden.Beside(file, ".modelversion.yaml", ".config.yaml")))
			require.Nil(t, problem)
			golden.AssertYAML(t, strings.Replace(file, ".modelversion.", ".workflow.", 1), toUnstructured(t, wf))
		})
	}
}

// toUnstructured returns a Workflow without the empty fields that Argo's types
// always marshal.
func toUnstructured(t *testing.T, wf *wfv1.Workflow) map[string]any {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wf)
	require.NoError(t, err)
	delete(object, "status")
	unstructured.RemoveNestedField(object, "metadata", "creationTimestamp")
	return object
}

func TestNewRejects(t *testing.T) {
	braces := builders.MakeModelVersion("mv-3", "default").Claim("models", "resnet/{{workflow.uid}}")
	opts := config.Default().Options()
	restricted := opts
	restricted.HostPaths = sourcepolicy.HostPathRules{Allowed: []string{"/models"}, Denied: []string{"/models/private"}}
	restricted.NFS = sourcepolicy.NFSRules{Allowed: []string{"nas.example.com:/models"}}
	restricted.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}}
	restricted.S3 = sourcepolicy.S3Rules{Allowed: []string{"minio.example.com/models"}}
	restricted.HuggingFace = sourcepolicy.HuggingFaceRules{Allowed: []string{"huggingface.co/mistralai"}}
	restricted.CompletenessRequired = true

	type testCase struct {
		mv          *builders.ModelVersionWrapper
		opts        workflow.Options
		wantReason  string
		wantMessage string
	}
	for name, tc := range map[string]testCase{
		"compression that Kaniko does not support": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Compression(v1alpha1.NoCompression), opts,
			v1alpha1.ReasonInvalidSpec, "The engine Kaniko does not support the compression None: set spec.build.compression to another one, or remove it. Fields under spec.build can be changed (kubectl edit mv -n default mv-3)",
		},
		"compression that Stream does not support": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Engine(v1alpha1.Stream).Compression(v1alpha1.Gzip), opts,
			v1alpha1.ReasonInvalidSpec, "The engine Stream does not support the compression Gzip",
		},
		"no storage": {
			builders.MakeModelVersion("mv-3", "default"), opts,
			v1alpha1.ReasonInvalidSpec, "storage names no kind",
		},
		"local storage without a node": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", ""), opts,
			v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName",
		},
		"local storage without a path": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("", "node-1"), opts,
			v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName",
		},
		"NFS without a server": {
			builders.MakeModelVersion("mv-3", "default").NFS("", "/exports"), opts,
			v1alpha1.ReasonInvalidSpec, "nfs needs server and path",
		},
		"NFS without a path": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", ""), opts,
			v1alpha1.ReasonInvalidSpec, "nfs needs server and path",
		},
		"NFS path with two dots": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/exports/../private"), opts,
			v1alpha1.ReasonSourceForbidden, "is not an absolute path without '..'",
		},
		"NFS server that mount would parse as an option": {
			builders.MakeModelVersion("mv-3", "default").NFS("-obind", "/exports"), opts,
			v1alpha1.ReasonSourceForbidden, "is not a host name or an address",
		},
		"NFS path that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/private"), restricted,
			v1alpha1.ReasonSourceForbidden, "(allowedNFS): move the model to nas.example.com:/models, or ask the platform team to allow it. The storage of a ModelVersion cannot be changed: create a new ModelVersion",
		},
		"NFS path that Argo would expand": {
			builders.MakeModelVersion("mv-3", "default").NFS("nas.example.com", "/{{workflow.uid}}"), opts,
			v1alpha1.ReasonInvalidSpec, `nfs-path must not contain "{{" or "}}"`,
		},
		"an object store without a list": {
			builders.MakeModelVersion("mv-3", "default").S3("https://minio.example.com", "models", "llama"), opts,
			v1alpha1.ReasonSourceForbidden, "since allowedS3 is empty: ask the platform team to allow it. The storage of a ModelVersion cannot be changed",
		},
		"a bucket that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").S3("https://minio.example.com", "secrets", "llama"), restricted,
			v1alpha1.ReasonSourceForbidden, "(allowedS3): move the model to minio.example.com/models",
		},
		"Amazon S3 that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").S3("", "models", "llama"), restricted,
			v1alpha1.ReasonSourceForbidden, "s3.amazonaws.com/models/llama is not",
		},
		"a bucket without a prefix": {
			builders.MakeModelVersion("mv-3", "default").S3("https://minio.example.com", "models", ""), restricted,
			v1alpha1.ReasonInvalidSpec, "s3 needs bucket and prefix",
		},
		"a hub without a list": {
			builders.MakeModelVersion("mv-3", "default").HuggingFace("", "mistralai/Mistral-7B-v0.3"), opts,
			v1alpha1.ReasonSourceForbidden, "since allowedHuggingFace is empty",
		},
		"a repository that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").HuggingFace("", "other/model"), restricted,
			v1alpha1.ReasonSourceForbidden, "huggingface.co/other/model is not",
		},
		"a hub without a repository": {
			builders.MakeModelVersion("mv-3", "default").HuggingFace("", ""), restricted,
			v1alpha1.ReasonInvalidSpec, "huggingFace needs repo",
		},
		"an image without a digest": {
			builders.MakeModelVersion("mv-3", "default").ExistingImage("v1", ""), opts,
			v1alpha1.ReasonInvalidSpec, "image needs digest, and spec.imageTag",
		},
		"an image without a tag": {
			builders.MakeModelVersion("mv-3", "default").ExistingImage("", builders.Digest), opts,
			v1alpha1.ReasonInvalidSpec, "image needs digest, and spec.imageTag",
		},
		"a completeness check that is skipped and required": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").CompletenessCheck(v1alpha1.SkipCompleteness), restricted,
			v1alpha1.ReasonInvalidSpec, "(completenessCheckRequired): remove spec.build.completenessCheck",
		},
		"a pattern that Argo would expand": {
			builders.MakeModelVersion("mv-3", "default").Claim("models", "").Exclude("{{workflow.uid}}"), opts,
			v1alpha1.ReasonInvalidSpec, `exclude must not contain "{{" or "}}"`,
		},
		"EFS without a volume handle": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs(""), opts,
			v1alpha1.ReasonInvalidSpec, "AWSEfs needs volumeHandle",
		},
		"EFS with an empty allow-list": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678"), opts,
			v1alpha1.ReasonSourceForbidden, "(allowedEFS is empty): copy the model to another kind of storage, or ask the platform team to allow it. The storage of a ModelVersion cannot be changed: create a new ModelVersion",
		},
		"EFS that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-87654321"), restricted,
			v1alpha1.ReasonSourceForbidden, "move the model to fs-12345678",
		},
		"EFS with an attribute that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678").AWSEfsAttribute("mounttargetip", "10.0.0.7"), restricted,
			v1alpha1.ReasonSourceForbidden, `does not allow the volume attribute "mounttargetip"`,
		},
		"claim without a name": {
			builders.MakeModelVersion("mv-3", "default").Claim("", "resnet"), opts,
			v1alpha1.ReasonInvalidSpec, "persistentVolumeClaim needs claimName",
		},
		"system directory": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/etc/kubernetes", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "/etc/kubernetes cannot be packaged",
		},
		"root directory": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "/ cannot be packaged",
		},
		"local path with two dots": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/models/../etc", "node-1"), opts,
			v1alpha1.ReasonSourceForbidden, "is not an absolute path without '..'",
		},
		"local path that is not allowed": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1"), restricted,
			v1alpha1.ReasonSourceForbidden, "move the model below /models",
		},
		"local path that is denied inside an allowed one": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/models/private/1", "node-1"), restricted,
			v1alpha1.ReasonSourceForbidden, "is inside /models/private",
		},
		"no repository": {
			builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").ImageRepo(""), opts,
			v1alpha1.ReasonInvalidSpec, "imageRepo is missing",
		},
		"sub-path that Argo would expand": {
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

func TestNewTemplate(t *testing.T) {
	defaults := config.Default().Options()
	stream := defaults
	stream.Engine = v1alpha1.Stream
	custom := defaults
	custom.NamespaceTemplates = map[string]string{"default": "scanned"}
	both := custom
	both.NamespaceStreamTemplates = map[string]string{"default": "scanned-stream"}
	for name, tc := range map[string]struct {
		engine v1alpha1.BuildEngine
		opts   workflow.Options
		want   string
	}{
		"default":                             {"", defaults, "modelkiln-build"},
		"Kaniko in the spec":                  {v1alpha1.Kaniko, stream, "modelkiln-build"},
		"Stream in the spec":                  {v1alpha1.Stream, defaults, "modelkiln-build-stream"},
		"Stream in the configuration":         {"", stream, "modelkiln-build-stream"},
		"template of the namespace":           {v1alpha1.Kaniko, custom, "scanned"},
		"Stream template of the namespace":    {v1alpha1.Stream, both, "scanned-stream"},
		"no Stream template of the namespace": {v1alpha1.Stream, custom, ""},
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

func TestNewPreviousImage(t *testing.T) {
	latest := builders.MakeModelVersion("mv-2", "default").Built("registry.example.com:5000/modelhub/resnet:v1", "sha256:00").Obj()
	pulled := builders.MakeModelVersion("mv-2", "default").Built("localhost:30500/modelhub/resnet:v1", "sha256:00").Obj()
	pulled.Status.PushedImage = "registry.example.com:5000/modelhub/resnet:v1"
	fromKubeDL := builders.MakeModelVersion("mv-2", "default").Built("modelhub/resnet:v1", "").Obj()
	elsewhere := builders.MakeModelVersion("mv-2", "default").ExistingImage("v1", "sha256:00").Built("modelhub/resnet:v1", "sha256:00").Obj()
	for name, tc := range map[string]struct {
		engine   v1alpha1.BuildEngine
		previous *v1alpha1.ModelVersion
		want     string
	}{
		"Stream":                                 {v1alpha1.Stream, latest, "registry.example.com:5000/modelhub/resnet@sha256:00"},
		"Kaniko":                                 {v1alpha1.Kaniko, latest, ""},
		"first ModelVersion":                     {v1alpha1.Stream, nil, ""},
		"ModelVersion that KubeDL built":         {v1alpha1.Stream, fromKubeDL, ""},
		"image that was pushed elsewhere":        {v1alpha1.Stream, elsewhere, ""},
		"image that pods pull from another host": {v1alpha1.Stream, pulled, "registry.example.com:5000/modelhub/resnet@sha256:00"},
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

func TestNewKnownDigest(t *testing.T) {
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		for _, digest := range []string{"", "sha256:00"} {
			t.Run(fmt.Sprintf("%s %q", engine, digest), func(t *testing.T) {
				mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").Engine(engine).Obj()
				mv.Status.Image = "modelhub/resnet:v1c072"
				wf, problem := workflow.New(mv, workflow.Attempt{Number: 2, KnownDigest: digest}, config.Default().Options())
				require.Nil(t, problem)
				assert.Equal(t, digest, workflow.Argument(wf, contract.ParamKnownDigest))
				sent := slices.ContainsFunc(wf.Spec.Arguments.Parameters, func(p wfv1.Parameter) bool { return p.Name == contract.ParamKnownDigest })
				assert.Equal(t, digest != "", sent, "empty arguments are omitted")
			})
		}
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

// Kaniko needs root, which a namespace that assigns users does not assign.
func TestNewInNamespaceThatAssignsUsers(t *testing.T) {
	opts := config.Default().Options()
	for engine, want := range map[v1alpha1.BuildEngine]string{v1alpha1.Stream: "true", v1alpha1.Kaniko: ""} {
		mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Engine(engine).Obj()
		wf, problem := workflow.New(mv, workflow.Attempt{Number: 1, UserAssigned: true}, opts)
		require.Nil(t, problem)
		assert.Equal(t, want, workflow.Argument(wf, contract.ParamAssignedUser), engine)
		wf, problem = workflow.New(mv, workflow.Attempt{Number: 1}, opts)
		require.Nil(t, problem)
		assert.Empty(t, workflow.Argument(wf, contract.ParamAssignedUser), engine)
	}
}
