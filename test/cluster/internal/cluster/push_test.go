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

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
)

// newSpec describes an image of one small file.
func newSpec(t *testing.T) image.Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o755))
	return image.Spec{Files: map[string]image.File{"/program": {Source: path}}}
}

func TestWhatWasPushedCanBePulledByItsDigest(t *testing.T) {
	var writes atomic.Int32
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			writes.Add(1)
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ref, err := parseTarget(strings.TrimPrefix(server.URL, "http://")+"/team/modelkiln:v1", false)
	require.NoError(t, err, "a registry on this machine is spoken to in plain HTTP unasked")
	spec := newSpec(t)

	pushed, err := push(t.Context(), spec, ref)
	require.NoError(t, err)
	img, err := remote.Image(ref)
	require.NoError(t, err)
	digest, err := img.Digest()
	require.NoError(t, err)
	assert.Equal(t, ref.Context().Name()+"@"+digest.String(), pushed)

	before := writes.Load()
	again, err := push(t.Context(), spec, ref)
	require.NoError(t, err)
	assert.Equal(t, pushed, again)
	assert.Equal(t, before, writes.Load(), "what is there already is not pushed again")
}

func TestARefusedPushTellsHowToLogIn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := parseTarget(host+"/team/modelkiln:v1", false)
	require.NoError(t, err)

	_, err = push(t.Context(), newSpec(t), ref)
	require.ErrorContains(t, err, host+" does not let you push "+ref.String()+"; log in with: crane auth login "+host)
}

func TestParseTarget(t *testing.T) {
	tests := map[string]struct {
		to         string
		plainHTTP  bool
		wantScheme string // empty: refused
	}{
		"a registry is spoken to with TLS":     {to: "registry.example.com/modelkiln:v1", wantScheme: "https"},
		"unless plain HTTP is asked for":       {to: "registry.example.com:5000/modelkiln:v1", plainHTTP: true, wantScheme: "http"},
		"or it is this machine's":              {to: "localhost:5000/modelkiln:v1", wantScheme: "http"},
		"a name without a tag is refused":      {to: "registry.example.com/modelkiln"},
		"a name without a registry is refused": {to: "modelkiln:v1"},
		"a digest cannot be chosen":            {to: "registry.example.com/modelkiln@sha256:" + strings.Repeat("0", 64)},
		"an upper-case name is refused":        {to: "registry.example.com/Modelkiln:v1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ref, err := parseTarget(tt.to, tt.plainHTTP)
			if tt.wantScheme == "" {
				require.ErrorContains(t, err, "is not an image to push to; write one such as registry.example.com/modelkiln/modelkiln:v0.1.0")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.wantScheme, ref.Scheme())
		})
	}
}
