package cluster

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
)

// newSpec describes an image of one small file.
func newSpec(t *testing.T, name string) image.Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o755))
	return image.Spec{Name: name, Files: map[string]image.File{"/program": {Source: path}}}
}

func TestPush(t *testing.T) {
	var writes atomic.Int32
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			writes.Add(1)
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	spec := newSpec(t, strings.TrimPrefix(server.URL, "http://")+"/library/base:1")
	img, err := spec.BuildCompressed()
	require.NoError(t, err)
	want, err := img.Digest()
	require.NoError(t, err)

	require.NoError(t, push(t.Context(), spec))
	got, err := crane.Digest(spec.Name)
	require.NoError(t, err)
	assert.Equal(t, want.String(), got)

	before := writes.Load()
	require.NoError(t, push(t.Context(), spec))
	assert.Equal(t, before, writes.Load(), "an image that the registry has is not pushed again")
}

func TestPush_Error(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	spec := newSpec(t, strings.TrimPrefix(server.URL, "http://")+"/library/base:1")
	require.ErrorContains(t, push(t.Context(), spec), "cannot push "+spec.Name)
}
