package command

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// newRegistry starts a registry in memory, for which clients have to log in if there is a
// password.
func newRegistry(t *testing.T, password string) string {
	t.Helper()
	handler := memory.New(memory.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, got, _ := r.BasicAuth(); got != password {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// newModel creates a directory with a small model.
func newModel(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "resnet")
	for name, content := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	return dir
}

var smallModel = map[string]string{"config.json": "{}", "weights/w.bin": "weights"}

// manifestOf returns the paths in the list of files of an image at a tag.
func pathsOf(t *testing.T, image string) []string {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	require.NoError(t, err)
	descriptor, err := remote.Get(ref)
	require.NoError(t, err)
	variants, err := modelimage.Variants(descriptor)
	require.NoError(t, err)
	manifest, err := modelimage.ReadManifest(variants[0].Image)
	require.NoError(t, err)
	var paths []string
	for path := range manifest.Index() {
		if path == layer.RootDir {
			continue
		}
		paths = append(paths, path)
	}
	return paths
}

func TestPackage(t *testing.T) {
	t.Parallel()
	repository := newRegistry(t, "") + "/models/resnet"
	dir := newModel(t, smallModel)
	args := []string{"package", dir, repository + ":v1", "--base-image", "scratch"}
	code, out, complaint := call(t, stranger, "default", args...)
	require.Equal(t, exitOK, code, complaint)
	assert.Regexp(t, `^`+repository+`:v1@sha256:[0-9a-f]{64}\n$`, out)
	assert.Contains(t, complaint, "the directory "+dir+" holds 2 files")
	assert.Contains(t, complaint, "pushed and verified")
	assert.ElementsMatch(t, []string{"config.json", "weights", "weights/w.bin"}, pathsOf(t, repository+":v1"))

	_, again, complaint := call(t, stranger, "default", append(args, "-q")...)
	assert.Equal(t, out, again, "the same files are already there")
	assert.Empty(t, complaint)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"a": 1}`), 0o600))
	code, _, complaint = call(t, stranger, "default", args...)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, "error: SourceChanged: ")
	code, out, complaint = call(t, stranger, "default", "package", dir, repository, "--base-image", "scratch", "--exclude", "config.json")
	require.Equal(t, exitOK, code, complaint)
	image, _, _ := strings.Cut(strings.TrimSpace(out), "@")
	assert.Regexp(t, `:v\d{14}$`, image)
	assert.ElementsMatch(t, []string{"weights", "weights/w.bin"}, pathsOf(t, image))
}

func TestPackage_layout(t *testing.T) {
	t.Parallel()
	dir := newModel(t, smallModel)
	target := filepath.Join(t.TempDir(), "image")
	code, out, complaint := call(t, stranger, "default", "package", dir, "--output", "oci:"+target)
	require.Equal(t, exitOK, code, complaint)
	assert.Regexp(t, `^resnet:v\d{14}@sha256:`, out)
	path, err := layout.FromPath(target)
	require.NoError(t, err)
	index, err := path.ImageIndex()
	require.NoError(t, err)
	require.NoError(t, validate.Index(index, validate.Fast))
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	assert.Contains(t, out, manifest.Manifests[0].Digest.String())

	other := newModel(t, smallModel)
	code, _, complaint = call(t, stranger, "default", "package", dir, "--output", "oci:"+other)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, other+" is not empty, and is no OCI layout")
}

// TestPackage_credentials is not parallel: it sets the environment of the process.
func TestPackage_credentials(t *testing.T) {
	const password = "s3cret"
	host := newRegistry(t, password)
	home := t.TempDir()
	t.Setenv("DOCKER_CONFIG", home)
	dir := newModel(t, smallModel)
	args := []string{"package", dir, host + "/models/resnet:v1", "--base-image", "scratch"}
	code, _, complaint := call(t, stranger, "default", args...)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, "error: RegistryUnauthorized: ")
	assert.Contains(t, complaint, "your Docker configuration has no entry for "+host)

	content, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": "robot", "password": password}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(home, "config.json"), content, 0o600))
	code, out, complaint := call(t, stranger, "default", args...)
	require.Equal(t, exitOK, code, complaint)
	assert.NotContains(t, out+complaint, password)
}

func TestPackage_usage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"no target":    {[]string{"."}, "name the repository to push to, or store the image with --output oci:DIRECTORY"},
		"other output": {[]string{".", "--output", "tar:a"}, `--output is oci:DIRECTORY, not "tar:a"`},
		"no directory": {[]string{".", "--output", "oci:"}, `--output is oci:DIRECTORY, not "oci:"`},
		"upper case":   {[]string{".", "registry.example.com/Models"}, `"registry.example.com/Models:v`},
		"a digest":     {[]string{".", "registry.example.com/models@" + digest}, "is not an image reference"},
		"symlinks":     {[]string{".", "a:b", "--symlinks", "keep"}, `--symlinks is Keep or Follow, not "keep"`},
		"compression":  {[]string{".", "a:b", "--compression", "Gzip"}, `--compression is None or Zstd, not "Gzip"`},
		"check":        {[]string{".", "a:b", "--completeness-check", "no"}, `--completeness-check is Enforce or Skip, not "no"`},
		"unusual name": {[]string{"./ResNet 50", "--output", "oci:image"}, `the directory's name "ResNet 50" cannot be that of an image: name the image too, for example resnet:v1`},
		"in itself":    {[]string{".", "models/resnet:v1", "--output", "oci:image"}, "the OCI layout image is in the directory . that is packaged: store it elsewhere"},
		"no arguments": {nil, "accepts between 1 and 2 arg(s), received 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, complaint := call(t, stranger, "default", append([]string{"package"}, tt.args...)...)
			assert.Equal(t, exitUsage, code, complaint)
			assert.Empty(t, out)
			assert.Contains(t, complaint, tt.want)
		})
	}
}

func TestPackage_failures(t *testing.T) {
	t.Parallel()
	host := newRegistry(t, "")
	dir := newModel(t, map[string]string{"model.safetensors": "short"})
	tests := map[string]struct {
		args []string
		want string
	}{
		"incomplete":         {[]string{dir, host + "/m:v1"}, "SourceIncomplete: "},
		"missing directory":  {[]string{dir + "/no", host + "/m:v1"}, "SourceMissing: "},
		"unreachable":        {[]string{dir, "127.0.0.1:1/m:v1", "--completeness-check", "Skip"}, "RegistryUnreachable: "},
		"invalid base image": {[]string{dir, host + "/m:v1", "--base-image", "A:b"}, `"A:b" is not an image reference`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, complaint := call(t, stranger, "default", append([]string{"package"}, tt.args...)...)
			assert.Equal(t, exitFailed, code)
			assert.Empty(t, out)
			assert.Contains(t, lastLine(complaint), "error: "+tt.want)
		})
	}
}

func TestCompleteImage(t *testing.T) {
	when := time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC)
	tests := map[string]struct{ given, want, model string }{
		"directory": {"", "resnet:v20261129010203", "resnet"},
		"no tag":    {"registry:5000/models/bert", "registry:5000/models/bert:v20261129010203", "bert"},
		"tag":       {"registry.example.com/models/bert:v1", "registry.example.com/models/bert:v1", "bert"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := &packaging{}
			p.Directory, p.Image = "/models/ResNet/", tt.given
			require.NoError(t, p.completeImage(when))
			assert.Equal(t, tt.want, p.Image)
			assert.Equal(t, tt.model, p.Model)
		})
	}
}
