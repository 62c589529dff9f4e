package ocilayout

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newServer(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func push(t *testing.T, s *Server, image v1.Image) {
	t.Helper()
	tag, err := name.NewTag(s.Host+"/"+Repository+":v1", name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, image, remote.WithAuth(authn.FromConfig(s.Credentials()))))
	got, err := remote.Image(tag, remote.WithAuth(authn.FromConfig(s.Credentials())))
	require.NoError(t, err)
	require.NoError(t, validate.Image(got))
}

// digests returns the digests of the images in a layout, by name.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	path, err := layout.FromPath(dir)
	require.NoError(t, err)
	index, err := path.ImageIndex()
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	found := map[string]string{}
	for _, descriptor := range manifest.Manifests {
		found[descriptor.Annotations[RefName]] = descriptor.Digest.String()
		image, err := path.Image(descriptor.Digest)
		require.NoError(t, err)
		require.NoError(t, validate.Image(image))
	}
	return found
}

func TestServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	first, err := random.Image(100_000, 3)
	require.NoError(t, err)
	second, err := random.Image(10, 1)
	require.NoError(t, err)
	digestOf := func(image v1.Image) string {
		digest, err := image.Digest()
		require.NoError(t, err)
		return digest.String()
	}
	for _, step := range []struct {
		image v1.Image
		name  string
		want  map[string]string
	}{
		{first, "resnet:v1", map[string]string{"resnet:v1": digestOf(first)}},
		{second, "resnet:v2", map[string]string{"resnet:v1": digestOf(first), "resnet:v2": digestOf(second)}},
		{second, "resnet:v1", map[string]string{"resnet:v1": digestOf(second), "resnet:v2": digestOf(second)}},
	} {
		s := newServer(t, dir)
		push(t, s, step.image)
		require.NoError(t, s.Commit("v1", step.name))
		assert.Equal(t, step.want, digests(t, dir))
	}
}

func TestServer_otherUsers(t *testing.T) {
	s := newServer(t, t.TempDir())
	for _, auth := range []authn.Authenticator{authn.Anonymous, &authn.Basic{Username: user, Password: "guess"}} {
		config, err := auth.Authorization()
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Host+"/v2/model/blobs/uploads/", http.NoBody)
		require.NoError(t, err)
		req.SetBasicAuth(config.Username, config.Password)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
	assert.Empty(t, s.sessions)
}

func TestServer_requests(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, dir)
	do := func(method, path, body string) (int, string, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Host+path, strings.NewReader(body))
		require.NoError(t, err)
		req.SetBasicAuth(user, s.password)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		content, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(content), resp.Header
	}
	start := func() string {
		code, _, header := do(http.MethodPost, "/v2/model/blobs/uploads/", "")
		require.Equal(t, http.StatusAccepted, code)
		return header.Get("Location")
	}
	unknown := "sha256:" + strings.Repeat("0", 64)
	for path, want := range map[string]int{
		"/v2/": http.StatusOK, "/v2/other/manifests/v1": http.StatusNotFound, "/v2/model/manifests/v1": http.StatusNotFound,
		"/v2/model/blobs/" + unknown: http.StatusNotFound, "/v2/model/blobs/..%2f..": http.StatusBadRequest, "/v2/model/blobs/uploads/unknown": http.StatusNotFound,
	} {
		code, _, _ := do(http.MethodGet, path, "")
		assert.Equal(t, want, code, path)
	}

	upload := start()
	code, _, header := do(http.MethodPatch, upload, "wei")
	assert.Equal(t, http.StatusAccepted, code)
	assert.Equal(t, "0-2", header.Get("Range"))
	_, _, header = do(http.MethodGet, upload, "")
	assert.Equal(t, "0-2", header.Get("Range"))
	code, message, _ := do(http.MethodPut, upload+"?digest="+unknown, "ghts")
	assert.Equal(t, http.StatusBadRequest, code)
	assert.Contains(t, message, "the blob has the digest sha256:")

	cancelled := start()
	code, _, _ = do(http.MethodDelete, cancelled, "")
	assert.Equal(t, http.StatusNoContent, code)
	code, _, _ = do(http.MethodPut, "/v2/model/manifests/v1", strings.Repeat("x", maxManifest+1))
	assert.Equal(t, http.StatusRequestEntityTooLarge, code)
	require.ErrorContains(t, s.Commit("v1", "resnet:v1"), "no image was pushed with the tag v1")

	require.NoError(t, s.Close())
	left, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	require.NoError(t, err)
	assert.Empty(t, left, "the unfinished upload is removed")
}

func TestServer_diskFull(t *testing.T) {
	upload := &session{hash: nopHash{}}
	var err error
	upload.file, err = os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	require.ErrorContains(t, upload.receive(bytes.NewReader([]byte("x"))), "no space left on device")
}

type nopHash struct{}

func (nopHash) Write(p []byte) (int, error) { return len(p), nil }
func (nopHash) Sum(b []byte) []byte         { return b }
func (nopHash) Reset()                      {}
func (nopHash) Size() int                   { return 0 }
func (nopHash) BlockSize() int              { return 1 }

func TestStart_otherDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	_, err := Start(t.Context(), dir)
	require.EqualError(t, err, fmt.Sprintf("%s is not empty, and is no OCI layout: name another directory", dir))
	_, err = Start(t.Context(), filepath.Join(dir, "notes.txt"))
	require.ErrorContains(t, err, "open "+dir)
}
