package registry

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newRegistry() http.Handler { return memory.New(memory.Logger(log.New(io.Discard, "", 0))) }

func serve(t *testing.T, handler http.Handler) (host string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// serveTLS serves HTTPS and returns a file with the authority to trust.
func serveTLS(t *testing.T, handler http.Handler) (host, caFile string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.crt")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(block), 0o644))
	return strings.TrimPrefix(server.URL, "https://"), caFile
}

// withPassword requires the user ann with the password secret.
func withPassword(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if u != "ann" || p != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// open opens the repository of an image and returns its reference.
func open(t *testing.T, c Config, image string, access Access) (*Repository, name.Tag, error) {
	t.Helper()
	tag, err := c.Tag(image)
	require.NoError(t, err)
	r, err := c.Open(t.Context(), tag.Repository, access)
	return r, tag, err
}

func TestRepositoryFetchAndStat(t *testing.T) {
	host := serve(t, newRegistry())
	c := Config{PlainHTTP: []string{"other:5000", host}}
	r, tag, err := open(t, c, host+"/models/resnet:v1", Push)
	require.NoError(t, err)
	require.NoError(t, r.CheckPush(tag))

	_, err = r.Fetch(t.Context(), tag)
	assertKind(t, RepositoryMissing, err, "has no repository models/resnet, or the build may not push to it (404 Not Found)")
	assert.True(t, IsNotFound(fmt.Errorf("fetch: %w", err)))

	image, err := random.Image(1000, 2)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, image))

	descriptor, err := r.Fetch(t.Context(), tag)
	require.NoError(t, err)
	want, err := image.Digest()
	require.NoError(t, err)
	assert.Equal(t, want, descriptor.Digest)

	layers, err := image.Layers()
	require.NoError(t, err)
	wantSize, err := layers[1].Size()
	require.NoError(t, err)
	digest, err := layers[1].Digest()
	require.NoError(t, err)
	size, err := r.Stat(t.Context(), digest)
	require.NoError(t, err)
	assert.Equal(t, wantSize, size)

	digest.Hex = strings.Repeat("0", 64)
	_, err = r.Stat(t.Context(), digest)
	assertKind(t, NotFound, err, "(404 Not Found)")
}

func TestRepositoryCheckPushWithoutPermission(t *testing.T) {
	readOnly := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, `{"errors": [{"code": "DENIED"}]}`, http.StatusForbidden)
			return
		}
		newRegistry().ServeHTTP(w, r)
	})
	host := serve(t, readOnly)
	r, tag, err := open(t, Config{PlainHTTP: []string{host}}, host+"/models/resnet:v1", Push)
	require.NoError(t, err)
	assertKind(t, Unauthorized, r.CheckPush(tag), "denied the permissions that the build needs in models/resnet (403 Forbidden)")
}

func TestConfigOpenRefusesPlainHTTP(t *testing.T) {
	// The library would fall back to plain HTTP for an address of a private network.
	host := serve(t, newRegistry())
	_, _, err := open(t, Config{}, host+"/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "uses plain HTTP instead of HTTPS: if this is intended, add the host to the plain-HTTP registries")
}

func TestConfigOpenWithPrivateAuthority(t *testing.T) {
	host, caFile := serveTLS(t, newRegistry())
	_, _, err := open(t, Config{CAFile: caFile}, host+"/models/resnet:v1", Pull)
	require.NoError(t, err)

	for name, caFile := range map[string]string{"none": "", "a file that does not exist": filepath.Join(t.TempDir(), "ca.crt")} {
		t.Run(name, func(t *testing.T) {
			_, _, err := open(t, Config{CAFile: caFile}, host+"/models/resnet:v1", Pull)
			assertKind(t, Untrusted, err, "certificate from an unknown authority")
		})
	}

	_, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	_, _, err = open(t, Config{CAFile: caFile}, "localhost:"+port+"/models/resnet:v1", Pull)
	assertKind(t, Untrusted, err, "certificate that is not valid for it")

	empty := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(empty, []byte("no certificate"), 0o644))
	_, _, err = open(t, Config{CAFile: empty}, host+"/models/resnet:v1", Pull)
	require.ErrorContains(t, err, "contains no certificate in PEM form")
}

func TestConfigOpenConnectionErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, _, err = open(t, Config{PlainHTTP: []string{closed}}, closed+"/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "refused the connection")
	assert.True(t, isTransient(err), "the registry may be starting")

	_, _, err = open(t, Config{}, "registry.invalid/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "the registry registry.invalid ")

	teapot := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	_, _, err = open(t, Config{PlainHTTP: []string{teapot}}, teapot+"/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "responded with the error 418")
	assert.False(t, isTransient(err))
}

func TestRepositoryTimeoutsAndRedirectLoops(t *testing.T) {
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := map[string]struct {
		// matches selects the requests to which respond responds.
		matches func(r *http.Request) bool
		respond http.HandlerFunc
		want    string
	}{
		"no response": {
			matches: func(*http.Request) bool { return true },
			respond: silent, want: "did not respond in time",
		},
		"no response after the login": {
			matches: func(r *http.Request) bool { return r.URL.Path != "/v2/" },
			respond: silent, want: "did not respond in time",
		},
		"a response that stops in the middle": {
			matches: func(r *http.Request) bool { return r.URL.Path != "/v2/" },
			respond: func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				silent(w, r)
			},
			want: "did not respond in time",
		},
		"a redirect loop for logins": {
			matches: func(*http.Request) bool { return true },
			respond: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v2/", http.StatusFound) },
			want:    "redirects in a loop",
		},
		"a redirect loop after the login": {
			matches: func(r *http.Request) bool { return r.URL.Path != "/v2/" },
			respond: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			want:    "redirects in a loop",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inner := newRegistry()
			host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.matches(r) {
					tt.respond(w, r)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			c := Config{PlainHTTP: []string{host}, IdleTimeout: 50 * time.Millisecond}
			r, tag, err := open(t, c, host+"/models/resnet:v1", Push)
			if err == nil {
				_, err = r.Fetch(t.Context(), tag)
			}
			assertKind(t, Unreachable, err, tt.want)
		})
	}
}

func TestRepositoryCheckPushEndsWithContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	inner := newRegistry()
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			stop()
			<-r.Context().Done()
			return
		}
		inner.ServeHTTP(w, r)
	}))
	c := Config{PlainHTTP: []string{host}, IdleTimeout: time.Minute}
	tag, err := c.Tag(host + "/models/resnet:v1")
	require.NoError(t, err)
	r, err := c.Open(ctx, tag.Repository, Push)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- r.CheckPush(tag) }()
	select {
	case err = <-ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the check does not end")
	}
}

func TestConfigOpenRetries(t *testing.T) {
	calls := 0
	inner := newRegistry()
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	_, _, err := open(t, Config{PlainHTTP: []string{host}}, host+"/models/resnet:v1", Pull)
	require.NoError(t, err)
}

func TestConfigReferences(t *testing.T) {
	c := Config{PlainHTTP: []string{"registry.local:5000"}}
	for _, bad := range []string{"", "UPPER/x:v1", "a b:v1", "host/x:bad tag", "host/x\nRUN id", "host/$x", "host/x@sha256:1"} {
		_, err := c.Tag(bad)
		require.ErrorContains(t, err, "is not an image reference", bad)
		_, err = c.Reference(bad)
		require.ErrorContains(t, err, "is not an image reference", bad)
	}
	tag, err := c.Tag("registry.local:5000/a/b:v1")
	require.NoError(t, err)
	assert.Equal(t, "http", tag.Scheme())
	ref, err := c.Reference("registry.local:5000/a/b@sha256:" + strings.Repeat("0", 64))
	require.NoError(t, err)
	assert.Equal(t, "http", ref.Context().Scheme())
	ref, err = c.Reference("busybox:1.37")
	require.NoError(t, err)
	assert.Equal(t, "index.docker.io/library/busybox:1.37", ref.Name())
	assert.Equal(t, "https", ref.Context().Scheme())
}
