package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	image := []string{"--model", "resnet", "--image", "registry.example.com:5000/models/resnet:v1"}
	tests := map[string]struct {
		args []string
		want v1alpha1.Storage
	}{
		"claim":           {[]string{"--claim", "training"}, v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "training"}}},
		"claim-directory": {[]string{"--claim", "training/resnet/3"}, v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "training", SubPath: "resnet/3"}}},
		"local":           {[]string{"--local", "node-1:/models/resnet"}, v1alpha1.Storage{LocalStorage: &v1alpha1.LocalStorage{NodeName: "node-1", Path: "/models/resnet"}}},
		"nfs":             {[]string{"--nfs", "nas.example.com:/models"}, v1alpha1.Storage{NFS: &v1alpha1.NFS{Server: "nas.example.com", Path: "/models"}}},
		"s3":              {[]string{"--s3", "models/resnet/3"}, v1alpha1.Storage{S3: &v1alpha1.S3{Bucket: "models", Prefix: "resnet/3"}}},
		"hub":             {[]string{"--hugging-face", "org/repo@main"}, v1alpha1.Storage{HuggingFace: &v1alpha1.HuggingFace{Repo: "org/repo", Revision: "main"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"create", name}, image...)
			assert.Equal(t, "modelversion.model.kubedl.io/"+name+" created\n", succeeds(t, ns, append(args, tt.args...)...))
			mv := &v1alpha1.ModelVersion{}
			require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, mv))
			assert.Equal(t, tt.want, mv.Spec.Storage)
			assert.Equal(t, "registry.example.com:5000/models/resnet", mv.Spec.ImageRepo)
			assert.Equal(t, "v1", mv.Spec.ImageTag)
			assert.Nil(t, mv.Spec.Build)
		})
	}
}

func TestCreate_fromImage(t *testing.T) {
	t.Parallel()
	ns, host := newNamespace(t), newRegistry(t, "")
	image := host + "/models/resnet:v4"
	packaged := succeeds(t, ns, "package", newModel(t, smallModel), image, "--base-image", "scratch", "-q")
	for name, from := range map[string]string{"looked-up": image, "named": strings.TrimSpace(packaged)} {
		succeeds(t, ns, "create", name, "--model", "resnet", "--from-image", from)
		mv := &v1alpha1.ModelVersion{}
		require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, mv))
		assert.Equal(t, host+"/models/resnet", mv.Spec.ImageRepo)
		assert.Equal(t, "v4", mv.Spec.ImageTag)
		require.NotNil(t, mv.Spec.Storage.Image, name)
		assert.Equal(t, packaged, image+"@"+mv.Spec.Storage.Image.Digest+"\n")
	}
	assert.Contains(t, fails(t, ns, "create", "v5", "--model", "resnet", "--from-image", host+"/models/resnet:v5"), "the registry does not have "+host+"/models/resnet:v5")
	code, _, complaint := call(t, editor, ns, "create", "v5", "--model", "resnet", "--from-image", host+"/models/resnet")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, complaint, "--from-image is REPOSITORY:TAG[@DIGEST]")
}

func TestCreate_dryRun(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	args := []string{"create", "v1", "--model", "resnet", "--image", "models/resnet", "--claim", "c", "--engine", "Stream", "--base-image", "scratch", "--push-secret", "robot", "--created-by", "ann", "--trained-by", "train"}
	out := succeeds(t, ns, append(args, "--dry-run", "client", "-o", "yaml")...)
	mv := &v1alpha1.ModelVersion{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(out), mv))
	assert.Equal(t, v1alpha1.ModelVersionSpec{
		ModelName: "resnet", ImageRepo: "models/resnet", CreatedBy: "ann", TrainedBy: &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"},
		Storage: v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "c"}},
		Build:   &v1alpha1.Build{Engine: v1alpha1.Stream, BaseImage: "scratch", PushSecretName: "robot"},
	}, mv.Spec)
	assert.Contains(t, out, "kind: ModelVersion\n")
	assert.Equal(t, "modelversion.model.kubedl.io/v1 created (server dry run)\n", succeeds(t, ns, append(args, "--dry-run", "server")...))
	assert.True(t, apierrors.IsNotFound(server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "v1"}, mv)))
}

func TestCreate_wait(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	out, complaint, ended := inBackground(t, ns, "create", "v1", "--model", "resnet", "--image", "models/resnet", "--claim", "c", "--wait")
	shows(t, out, "created\n")
	mv := &v1alpha1.ModelVersion{}
	require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "v1"}, mv))
	setStatus(t, mv, readyStatus())
	assert.Equal(t, exitOK, awaitCode(t, ended), complaint)
	assert.Contains(t, out.String(), "v1 is ready: ")
}

func TestCreate_failures(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "taken", readyStatus())
	image := []string{"--model", "resnet", "--image", "models/resnet"}
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"no model":      {[]string{"v1", "--claim", "c"}, exitUsage, "--model and --image are required"},
		"no storage":    {append([]string{"v1"}, image...), exitUsage, "say where the files are, with one of --claim"},
		"two storages":  {append([]string{"v1", "--claim", "c", "--s3", "a/b"}, image...), exitUsage, "none of the others can be"},
		"s3":            {append([]string{"v1", "--s3", "bucket"}, image...), exitUsage, `--s3 is BUCKET/PREFIX, not "bucket"`},
		"local":         {append([]string{"v1", "--local", "/models"}, image...), exitUsage, `--local is NODE:/DIRECTORY, not "/models"`},
		"nfs":           {append([]string{"v1", "--nfs", "nas:models"}, image...), exitUsage, `--nfs is SERVER:/DIRECTORY, not "nas:models"`},
		"dry run":       {append([]string{"v1", "--claim", "c", "--dry-run", "yes"}, image...), exitUsage, `--dry-run is none, client or server, not "yes"`},
		"taken name":    {append([]string{"taken", "--claim", "c"}, image...), exitFailed, "ModelVersion taken exists in namespace " + ns + " already: choose another name, or list those that do with: kubectl kiln get -n " + ns},
		"digest":        {[]string{"v1", "--claim", "c", "--model", "resnet", "--image", "models/resnet:v1@" + digest}, exitUsage, "the build determines the digest. To use an image that exists, name it with --from-image"},
		"invalid model": {[]string{"v1", "--claim", "c", "--image", "models/resnet", "--model", "ResNet"}, exitFailed, "modelName is the name of a Model: use lower-case letters"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, _, complaint := call(t, editor, ns, append([]string{"create"}, tt.args...)...)
			assert.Equal(t, tt.code, code)
			assert.Contains(t, complaint, tt.want)
		})
	}
	code, _, complaint := call(t, viewer, ns, append([]string{"create", "v1", "--claim", "c"}, image...)...)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, "ClusterRole modelkiln-edit")
	code, _, complaint = call(t, admin, "no-namespace", append([]string{"create", "v1", "--claim", "c"}, image...)...)
	assert.Equal(t, exitFailed, code)
	assert.Equal(t, "error: the namespace no-namespace does not exist: create it with kubectl create namespace no-namespace, or name another one with -n\n", complaint)
}
