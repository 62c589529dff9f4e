package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/registry/identity"
)

// credentialsOf returns credentials for one host: ann, with the password secret.
func credentialsOf(t *testing.T, host string) Credentials {
	t.Helper()
	return credentialsFor(t, fmt.Sprintf(`{"auths": {%q: {"username": "ann", "password": "secret"}}}`, host))
}

// hostileUploader returns an uploader that does not wait, to a registry that the account
// ann has logged in to.
func hostileUploader(t *testing.T, c Config, host string) (up *Uploader, waits *int) {
	t.Helper()
	tag, err := c.Tag(host + "/models/resnet:v1")
	require.NoError(t, err)
	opened, err := c.Open(t.Context(), tag.Repository, Push)
	require.NoError(t, err)
	up, err = c.NewUploader(t.Context(), opened)
	require.NoError(t, err)
	waits = new(int)
	up.Wait = func(ctx context.Context, _ time.Duration) error {
		*waits++
		return ctx.Err()
	}
	return up, waits
}

// A registry sends an upload to plain HTTP. Nothing is sent there, and it is not tried
// again: the registry would say the same.
func TestUploaderUploadToPlainHTTP(t *testing.T) {
	var reached sync.Once
	wasReached := false
	plain := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Do(func() { wasReached = true }) }))
	for name, answer := range map[string]int{"by its location": http.StatusAccepted, "by a redirect": http.StatusTemporaryRedirect} {
		t.Run(name, func(t *testing.T) {
			host, caFile := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.Header().Set("Location", "http://"+plain+"/upload")
					w.WriteHeader(answer)
				}
			}))
			up, waits := hostileUploader(t, Config{CAFile: caFile, Credentials: credentialsOf(t, host)}, host)

			_, err := up.Upload(t.Context(), content(10), func(int64) {})
			assertKind(t, Unreachable, err, "plain HTTP is used only for hosts that the operator's configuration lists")
			assert.False(t, isTransient(err))
			assert.Zero(t, *waits)
			assert.False(t, wasReached)
		})
	}
}

// A registry sends an upload to another host, in every way that HTTP has. The account's
// password does not go there.
func TestUploaderUploadElsewhereWithoutPassword(t *testing.T) {
	for name, tt := range map[string]struct {
		method   string
		answer   int
		location string
	}{
		"location":               {http.MethodPost, http.StatusAccepted, "http://STORAGE/a"},
		"location with a user":   {http.MethodPost, http.StatusAccepted, "http://ann@STORAGE/a"},
		"redirect to GET":        {http.MethodPost, http.StatusFound, "http://STORAGE/a"},
		"redirect of a POST":     {http.MethodPost, http.StatusTemporaryRedirect, "http://STORAGE/a"},
		"redirect of content":    {http.MethodPatch, http.StatusTemporaryRedirect, "http://STORAGE/a"},
		"permanent redirect":     {http.MethodPatch, http.StatusPermanentRedirect, "http://STORAGE/a"},
		"redirect of the commit": {http.MethodPut, http.StatusTemporaryRedirect, "http://STORAGE/a"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var received []string
			storage := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				user, password, _ := r.BasicAuth()
				received = append(received, user+":"+password)
				// The storage asks for the password.
				w.Header().Set("WWW-Authenticate", `Basic realm="storage"`)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			// The registry has another name than the storage: Go's client keeps headers for
			// the same one.
			host := strings.Replace(serve(t, withPassword(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				switch r.Method {
				case tt.method:
					w.Header().Set("Location", strings.Replace(tt.location, "STORAGE", storage, 1))
					w.WriteHeader(tt.answer)
				case http.MethodPost, http.MethodPatch:
					w.Header().Set("Location", r.URL.Path)
					w.WriteHeader(http.StatusAccepted)
				}
			}))), "127.0.0.1", "localhost", 1)
			up, _ := hostileUploader(t, Config{PlainHTTP: []string{host}, Credentials: credentialsOf(t, host)}, host)

			_, err := up.Upload(t.Context(), content(10), func(int64) {})
			require.Error(t, err)
			mu.Lock()
			defer mu.Unlock()
			for _, account := range received {
				assert.NotContains(t, account, "secret")
			}
		})
	}
}

// A server repeats what was sent to it in place of a status line, which becomes a part
// of the client's error.
func TestErrorRedactsCredentials(t *testing.T) {
	host := serve(t, withPassword(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return
		}
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(connection, "%s\n", r.Header.Get("Authorization"))
		_ = connection.Close()
	})))
	r, tag, err := open(t, Config{PlainHTTP: []string{host}, Credentials: credentialsOf(t, host)}, host+"/models/resnet:v1", Pull)
	require.NoError(t, err)

	_, err = r.Fetch(t.Context(), tag)
	assertKind(t, Unreachable, err, "malformed HTTP status code")
	assert.Contains(t, err.Error(), `"***"`)
	assert.NotContains(t, err.Error(), "YW5uOnNlY3JldA==")
}

// The token that a registry has issued is repeated in a message, and in place of a status
// line.
func TestErrorRedactsTokens(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, authorization string){
		"a message": func(w http.ResponseWriter, authorization string) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `{"errors": [{"code": "DENIED", "message": "no access with %s"}]}`, authorization)
		},
		"a page": func(w http.ResponseWriter, authorization string) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, authorization)
		},
		"a status line": func(w http.ResponseWriter, authorization string) {
			connection, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = fmt.Fprintf(connection, "%s\n", authorization)
				_ = connection.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const token = "eyJhbGciOiJub25lIn0.e30."
			var host string
			host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/token":
					_, _ = io.WriteString(w, `{"token": "`+token+`"}`)
				case r.Header.Get("Authorization") == "":
					w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+host+`/token"`)
					w.WriteHeader(http.StatusUnauthorized)
				default:
					answer(w, r.Header.Get("Authorization"))
				}
			}))
			r, tag, err := open(t, Config{PlainHTTP: []string{host}}, host+"/models/resnet:v1", Pull)
			if err == nil {
				_, err = r.Fetch(t.Context(), tag)
			}
			require.Error(t, err)
			assert.NotContains(t, err.Error(), token)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.NotContains(t, e.Cause.Error(), token)
		})
	}
}

// A challenge or a token of any form ends in an error that can be shown, or in a login.
func TestConfigOpenHostileChallenges(t *testing.T) {
	for title, tt := range map[string]struct {
		challenges []string
		token      string
		want       string
	}{
		"several challenges":            {[]string{`Negotiate`, `Basic realm="a"`, `Bearer realm="TOKEN",service="r"`}, `{"token": "t"}`, ""},
		"expired when it was issued":    {[]string{`Bearer realm="TOKEN"`}, `{"token": "t", "expires_in": 0, "issued_at": "1970-01-01T00:00:00Z"}`, ""},
		"expires before it was issued":  {[]string{`Bearer realm="TOKEN"`}, `{"access_token": "t", "expires_in": -1}`, ""},
		"no realm":                      {[]string{`Bearer service="r"`}, "", "missing realm"},
		"no parameters":                 {[]string{`Bearer`}, "", "missing realm"},
		"realm of another protocol":     {[]string{`Bearer realm="gopher://a"`}, "", "unsafe address"},
		"realm at an address of a node": {[]string{`Bearer realm="http://169.254.169.254/latest"`}, "", "unsafe address"},
		"no token":                      {[]string{`Bearer realm="TOKEN"`}, `{}`, ""},
		"token that is no JSON":         {[]string{`Bearer realm="TOKEN"`}, `<html>`, ""},
		"token of many megabytes":       {[]string{`Bearer realm="TOKEN"`}, `{"token": "` + strings.Repeat("a", 8<<20) + `"}`, "byte limit"},
		"token with a line break":       {[]string{`Bearer realm="TOKEN"`}, `{"token": "a\nb"}`, "connection failed"},
		"unknown scheme":                {[]string{`Digest realm="a"`}, "", ""},
	} {
		t.Run(title, func(t *testing.T) {
			var host string
			host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/token":
					_, _ = io.WriteString(w, tt.token)
				case r.Header.Get("Authorization") == "Bearer t":
					w.WriteHeader(http.StatusNotFound)
				default:
					for _, challenge := range tt.challenges {
						w.Header().Add("WWW-Authenticate", strings.Replace(challenge, "TOKEN", "http://"+host+"/token", 1))
					}
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			tag, err := name.NewTag(host+"/models/resnet:v1", name.Insecure)
			require.NoError(t, err)
			r, err := Config{PlainHTTP: []string{host}, Credentials: credentialsOf(t, host)}.Open(t.Context(), tag.Repository, Pull)
			if err == nil {
				_, err = r.Fetch(t.Context(), tag)
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Contains(t, e.Message, tt.want)
			assertReadable(t, err)
			assert.NotContains(t, e.Message, "secret")
		})
	}
}

// fleetingCredentials end after some requests, and cannot be renewed.
type fleetingCredentials struct {
	uses    int
	problem *identity.Error
}

func (f *fleetingCredentials) Authorization() (*authn.AuthConfig, error) {
	if f.uses--; f.uses < 0 {
		return nil, f.problem
	}
	return &authn.AuthConfig{Username: "ann", Password: "secret"}, nil
}

// Credentials end between two requests of an upload, before the content of the second one
// is sent. The upload ends, and does not wait for a request that was never made.
func TestUploaderUploadWithoutCredentialsInTheMiddle(t *testing.T) {
	for name, transient := range map[string]bool{"refused": false, "not available": true} {
		t.Run(name, func(t *testing.T) {
			fake := &uploadRegistry{sessions: map[string]*bytes.Buffer{}, blobs: map[string][]byte{}}
			host := serve(t, withPassword(fake))
			up, _ := hostileUploader(t, Config{PlainHTTP: []string{host}, Credentials: credentialsOf(t, host)}, host)
			credentials := &fleetingCredentials{uses: 1, problem: &identity.Error{Message: "AWS refused the role", Transient: transient}}
			authenticated, err := transport.NewWithContext(t.Context(), up.repository.name.Registry, credentials, sendOnce{http.DefaultTransport}, []string{up.repository.name.Scope(string(Push))})
			require.NoError(t, err)
			up.client = &http.Client{Transport: authenticated}

			ended := make(chan error, 1)
			go func() {
				_, err := up.Upload(t.Context(), content(10), func(int64) {})
				ended <- err
			}()
			select {
			case err = <-ended:
				var e *Error
				require.ErrorAs(t, err, &e)
				assert.Contains(t, e.Message, "the build cannot log in to the registry "+host+": AWS refused the role")
				assert.Equal(t, transient, e.Transient)
			case <-time.After(20 * time.Second):
				require.Fail(t, "the upload does not end")
			}
		})
	}
}

// A manifest without an end, plain or compressed, at the registry or where it redirects.
func TestRepositoryFetchOfEndlessManifest(t *testing.T) {
	for name, compressed := range map[string]bool{"plain": false, "compressed": true} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/v2/":
					return
				case strings.Contains(r.URL.Path, "/manifests/"):
					http.Redirect(w, r, "/storage", http.StatusTemporaryRedirect)
					return
				}
				var body io.Writer = w
				if compressed {
					w.Header().Set("Content-Encoding", "gzip")
					zip := gzip.NewWriter(w)
					defer func() { _ = zip.Close() }()
					body = zip
				}
				piece := bytes.Repeat([]byte(" "), mebibyte)
				for range 64 {
					if _, err := body.Write(piece); err != nil {
						return
					}
					sent.Add(int64(len(piece)))
				}
			}))
			r, tag, err := open(t, Config{PlainHTTP: []string{host}}, host+"/models/resnet:v1", Pull)
			require.NoError(t, err)

			_, err = r.Fetch(t.Context(), tag)
			assertKind(t, Unreachable, err, "sent a manifest of more than 4 MiB, which is no image's")
			assert.False(t, isTransient(err))
			if !compressed {
				assert.Less(t, sent.Load(), int64(64*mebibyte), "the rest is not read")
			}
		})
	}
}

func TestLimitedBody(t *testing.T) {
	for size, want := range map[int]error{0: nil, 9: nil, 10: nil, 11: errManifestTooLarge, 1000: errManifestTooLarge} {
		for _, piece := range []int{1, 3, 2000} {
			body := &limitedBody{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, size))), left: 10}
			read := 0
			var err error
			for buffer := make([]byte, piece); err == nil; {
				var n int
				n, err = body.Read(buffer)
				read += n
			}
			if want == nil {
				assert.Equal(t, size, read)
				require.ErrorIs(t, err, io.EOF, "%d bytes in pieces of %d", size, piece)
				continue
			}
			require.ErrorIs(t, err, want, "%d bytes in pieces of %d", size, piece)
			assert.LessOrEqual(t, read, 10)
		}
	}
}
