package registry

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const dockerHubAccess = `{"auths": {"https://index.docker.io/v1/": {"username": "u", "password": "p"}}}`

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

// withPassword lets only one user in.
func withPassword(inner http.Handler, user, password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func credentialsFor(t *testing.T, content string) Credentials {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	c, err := ReadCredentials(file, "Secret regcred")
	require.NoError(t, err)
	return c
}

// open opens the repository of an image and returns its reference.
func open(t *testing.T, c Config, image string, access Access) (*Repository, name.Tag, error) {
	t.Helper()
	tag, err := c.Tag(image)
	require.NoError(t, err)
	r, err := c.Open(t.Context(), tag.Repository, access)
	return r, tag, err
}

func assertKind(t *testing.T, want Kind, err error, sentence string) {
	t.Helper()
	var got *Error
	require.ErrorAs(t, err, &got)
	assert.Equal(t, want, got.Kind, got.Sentence)
	assert.Contains(t, got.Sentence, sentence)
}

func TestGetAndBlobSize(t *testing.T) {
	host := serve(t, newRegistry())
	c := Config{PlainHTTP: []string{"other:5000", host}}
	r, tag, err := open(t, c, host+"/models/resnet:v1", Push)
	require.NoError(t, err)
	require.NoError(t, r.CheckPush(tag))

	_, err = r.Get(t.Context(), tag)
	assertKind(t, NotFound, err, "does not have that in models/resnet (404)")
	assert.True(t, IsNotFound(fmt.Errorf("ask: %w", err)))

	image, err := random.Image(1000, 2)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, image))

	descriptor, err := r.Get(t.Context(), tag)
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
	size, err := r.BlobSize(t.Context(), digest)
	require.NoError(t, err)
	assert.Equal(t, wantSize, size)

	digest.Hex = strings.Repeat("0", 64)
	_, err = r.BlobSize(t.Context(), digest)
	assertKind(t, NotFound, err, "(404)")
}

func TestCredentialsAreUsed(t *testing.T) {
	host := serve(t, withPassword(newRegistry(), "ann", "secret"))
	good := fmt.Sprintf(`{"auths": {%q: {"auth": "YW5uOnNlY3JldA=="}}}`, host)
	bad := fmt.Sprintf(`{"auths": {%q: {"username": "ann", "password": "wrong"}}}`, host)
	tests := map[string]struct {
		creds Credentials
		want  string // empty: let in
	}{
		"the right password":      {creds: credentialsFor(t, good)},
		"a wrong password":        {creds: credentialsFor(t, bad), want: "does not let the build in to models/resnet (401), which asked with Secret regcred"},
		"no credentials":          {want: "which asked anonymously, as there is no push secret"},
		"none for this registry":  {creds: credentialsFor(t, dockerHubAccess), want: "which asked anonymously, as Secret regcred has no entry for " + host},
		"only a helper's name":    {creds: credentialsFor(t, fmt.Sprintf(`{"credHelpers": {%q: "ecr-login"}}`, host)), want: `names the helper "ecr-login" for ` + host},
		"an older form of a host": {creds: credentialsFor(t, fmt.Sprintf(`{"auths": {"http://%s/v1/": {"auth": "YW5uOnNlY3JldA=="}}}`, host))},
		"the repository's own":    {creds: credentialsFor(t, fmt.Sprintf(`{"auths": {%q: {"auth": "YW5uOnNlY3JldA=="}, %q: {"auth": "eDp5"}}}`, host+"/models/resnet", host))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, tag, err := open(t, Config{PlainHTTP: []string{host}, Credentials: tt.creds}, host+"/models/resnet:v1", Push)
			if err == nil {
				err = r.CheckPush(tag)
			}
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assertKind(t, Unauthorized, err, tt.want)
			assert.NotContains(t, err.Error(), "wrong")
		})
	}
}

func TestAReaderMayNotPush(t *testing.T) {
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
	assertKind(t, Unauthorized, r.CheckPush(tag), "forbids what the build needs in models/resnet (403)")
}

func TestPlainHTTPIsOnlyForHostsThatAreNamed(t *testing.T) {
	// An address of a private network, to which the library would fall back by
	// itself.
	host := serve(t, newRegistry())
	_, _, err := open(t, Config{}, host+"/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "speaks plain HTTP and not HTTPS: if that is meant, name the host among the plain-HTTP registries")
}

func TestAPrivateAuthority(t *testing.T) {
	host, caFile := serveTLS(t, newRegistry())
	_, _, err := open(t, Config{CAFile: caFile}, host+"/models/resnet:v1", Pull)
	require.NoError(t, err)

	for name, caFile := range map[string]string{"none": "", "a file that is not there": filepath.Join(t.TempDir(), "ca.crt")} {
		t.Run(name, func(t *testing.T) {
			_, _, err := open(t, Config{CAFile: caFile}, host+"/models/resnet:v1", Pull)
			assertKind(t, Untrusted, err, "certificate of an unknown authority")
		})
	}

	_, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	_, _, err = open(t, Config{CAFile: caFile}, "localhost:"+port+"/models/resnet:v1", Pull)
	assertKind(t, Untrusted, err, "certificate that is not valid for it")

	empty := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(empty, []byte("no certificate"), 0o644))
	_, _, err = open(t, Config{CAFile: empty}, host+"/models/resnet:v1", Pull)
	require.ErrorContains(t, err, "holds no certificate in PEM form")
}

func TestARegistryThatDoesNotAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, _, err = open(t, Config{PlainHTTP: []string{closed}}, closed+"/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "refuses the connection")
	assert.True(t, isTransient(err), "it may be starting")

	_, _, err = open(t, Config{}, "registry.invalid/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "the registry registry.invalid ")

	teapot := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	_, _, err = open(t, Config{PlainHTTP: []string{teapot}}, teapot+"/models/resnet:v1", Pull)
	assertKind(t, Unreachable, err, "answers with the error 418")
	assert.False(t, isTransient(err))
}

func TestWhatMayPassByItself(t *testing.T) {
	tests := map[int]bool{
		http.StatusTooManyRequests:       true,
		http.StatusInternalServerError:   true,
		http.StatusBadGateway:            true,
		http.StatusServiceUnavailable:    true,
		http.StatusGatewayTimeout:        true,
		http.StatusUnauthorized:          false,
		http.StatusForbidden:             false,
		http.StatusRequestEntityTooLarge: false,
		http.StatusInsufficientStorage:   false,
		http.StatusNotImplemented:        false,
	}
	for code, want := range tests {
		t.Run(http.StatusText(code), func(t *testing.T) {
			repository, err := name.NewRepository("registry.example.com/models/resnet")
			require.NoError(t, err)
			assert.Equal(t, want, isTransient((&Repository{name: repository}).explain(&transport.Error{StatusCode: code})))
		})
	}
}

func TestASignatureInAnAddressIsNotSaid(t *testing.T) {
	repository, err := name.NewRepository("registry.example.com/models/resnet")
	require.NoError(t, err)
	cut := &url.Error{Op: "Get", URL: "https://storage.example.com/blob?signature=secret", Err: io.ErrUnexpectedEOF}

	err = (&Repository{name: repository}).explain(fmt.Errorf("fetch: %w", cut))
	assertKind(t, Unreachable, err, "https://storage.example.com/blob?***")
	assert.NotContains(t, err.Error()+errors.Unwrap(err).Error(), "secret")
}

func isTransient(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Transient
}

func TestARegistryThatIsSilentOrGoesInCircles(t *testing.T) {
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := map[string]struct {
		// at says which requests are answered in this way.
		at     func(r *http.Request) bool
		answer http.HandlerFunc
		want   string
	}{
		"it never answers": {
			at:     func(*http.Request) bool { return true },
			answer: silent, want: "does not answer in time",
		},
		"it answers no question": {
			at:     func(r *http.Request) bool { return r.URL.Path != "/v2/" },
			answer: silent, want: "does not answer in time",
		},
		"it stops in the middle": {
			at: func(r *http.Request) bool { return r.URL.Path != "/v2/" },
			answer: func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				silent(w, r)
			},
			want: "does not answer in time",
		},
		"it sends every login on": {
			at:     func(*http.Request) bool { return true },
			answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v2/", http.StatusFound) },
			want:   "sends the build in a circle",
		},
		"it sends every question on": {
			at:     func(r *http.Request) bool { return r.URL.Path != "/v2/" },
			answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			want:   "sends the build in a circle",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inner := newRegistry()
			host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.at(r) {
					tt.answer(w, r)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			c := Config{PlainHTTP: []string{host}, AnswerWithin: 50 * time.Millisecond}
			r, tag, err := open(t, c, host+"/models/resnet:v1", Push)
			if err == nil {
				_, err = r.Get(t.Context(), tag)
			}
			assertKind(t, Unreachable, err, tt.want)
		})
	}
}

func TestACheckThatIsStoppedEnds(t *testing.T) {
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
	c := Config{PlainHTTP: []string{host}, AnswerWithin: time.Minute}
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
		require.Fail(t, "it goes on")
	}
}

func TestABusyRegistryIsAskedAgain(t *testing.T) {
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

func TestReferences(t *testing.T) {
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

func TestReadCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(content string) string {
		file := filepath.Join(dir, "config.json")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	_, err := ReadCredentials(filepath.Join(dir, "none"), "Secret regcred")
	require.ErrorIs(t, err, os.ErrNotExist)
	none, err := ReadCredentialsIfAny(filepath.Join(dir, "none"), "Secret regcred")
	require.NoError(t, err)
	assert.Equal(t, Credentials{}, none)

	_, err = ReadCredentialsIfAny(write("user:secret"), "Secret regcred")
	require.EqualError(t, err, "the content of Secret regcred is not a Docker configuration")
	_, err = ReadCredentials(write(`{"auths": {"host": {}}, "credsStore": "desktop"}`), "Secret regcred")
	require.ErrorContains(t, err, `only the name of the helper "desktop"`)

	c, err := ReadCredentials(write(`{"auths": {
		"host": {"username": "u", "password": "pa\"ss"}, "other": {"identitytoken": "token1"}, "third": {"registrytoken": "token2"}}}`), "Secret regcred")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{`pa"ss`, "dTpwYSJzcw==", "token1", "token2"}, c.Secrets())
}

func TestDockerHubHasAnAddressOfItsOwn(t *testing.T) {
	repository, err := name.NewRepository("busybox")
	require.NoError(t, err)
	got, err := credentialsFor(t, dockerHubAccess).Resolve(repository)
	require.NoError(t, err)
	config, err := got.Authorization()
	require.NoError(t, err)
	assert.Equal(t, "u", config.Username)

	got, err = Credentials{}.Resolve(repository)
	require.NoError(t, err)
	assert.Equal(t, authn.Anonymous, got)
}
