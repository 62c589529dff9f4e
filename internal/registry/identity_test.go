package registry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/clouds"
)

// hosts are hosts of the internet.
var hosts *clouds.Hosts

func TestMain(m *testing.M) {
	hosts = clouds.StartHosts()
	os.Exit(m.Run())
}

const (
	ecrHost    = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	googleHost = "us-docker.pkg.dev"
	azureHost  = "models.azurecr.io"
)

// cloudTokens are what the stand-ins of all clouds have.
type cloudTokens interface {
	SetLifetime(lifetime time.Duration)
	ExpireAll()
	Valid(token string) bool
	Issued() []string
	Requests() int
}

// startCloud starts every cloud in the same way, with a registry that requires its
// tokens.
var startCloud = map[string]func(t *testing.T, inner http.Handler) (tokens cloudTokens, image string){
	"ECR": func(t *testing.T, inner http.Handler) (cloudTokens, string) {
		a := clouds.StartAmazon(t)
		a.ProjectRole(t)
		hosts.Serve(t, ecrHost, a.ElasticContainerRegistry(inner))
		return a, ecrHost + "/models/resnet:v1"
	},
	"Artifact Registry": func(t *testing.T, inner http.Handler) (cloudTokens, string) {
		g := clouds.StartGoogle(t)
		hosts.Serve(t, googleHost, g.ArtifactRegistry(inner))
		return g, googleHost + "/models/resnet:v1"
	},
	"ACR": func(t *testing.T, inner http.Handler) (cloudTokens, string) {
		a := clouds.StartAzure(t)
		a.Project(t)
		hosts.Serve(t, azureHost, a.ContainerRegistry(inner))
		return a, azureHost + "/models/resnet:v1"
	},
}

// withIdentity returns the configuration of a build that falls back to its identity.
func withIdentity(t *testing.T, credentials Credentials) Config {
	t.Helper()
	c, err := Config{PlainHTTP: []string{ecrHost, googleHost, azureHost, "evil.example", "public.ecr.aws"}, Credentials: credentials}.WithIdentity()
	require.NoError(t, err)
	return c
}

func TestConfigOpenByIdentity(t *testing.T) {
	for cloud, start := range startCloud {
		t.Run(cloud, func(t *testing.T) {
			tokens, image := start(t, newRegistry())
			c := withIdentity(t, Credentials{})

			r, tag, err := open(t, c, image, Push)
			require.NoError(t, err)
			require.NoError(t, r.CheckPush(tag))

			assert.Contains(t, c.Credentials.Account(tag.Repository), "of the service account modelkiln-build, which needs ")
			assert.Subset(t, c.Credentials.Secrets(), tokens.Issued())
			assert.False(t, c.Credentials.Has(tag.Repository))
			assert.Equal(t, 1, tokens.Requests())
		})
	}
}

// The entry of a secret is preferred, and no token is requested.
func TestConfigOpenPrefersSecret(t *testing.T) {
	for cloud, start := range startCloud {
		t.Run(cloud, func(t *testing.T) {
			tokens, image := start(t, newRegistry())
			tag, err := name.NewTag(image)
			require.NoError(t, err)
			hosts.Serve(t, tag.RegistryStr(), withPassword(newRegistry()))
			c := withIdentity(t, credentialsFor(t, `{"auths": {"`+tag.RegistryStr()+`/models": {"username": "ann", "password": "secret"}}}`))

			r, tag, err := open(t, c, image, Push)
			require.NoError(t, err)
			require.NoError(t, r.CheckPush(tag))

			assert.Equal(t, "Secret regcred", c.Credentials.Account(tag.Repository))
			assert.Zero(t, tokens.Requests())
		})
	}
}

// startUpload returns an uploader of a repository that needs an identity.
func startUpload(t *testing.T, image string) *Uploader {
	t.Helper()
	c := withIdentity(t, Credentials{})
	r, _, err := open(t, c, image, Push)
	require.NoError(t, err)
	uploader, err := c.NewUploader(t.Context(), r)
	require.NoError(t, err)
	uploader.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return uploader
}

// Tokens expire in the middle of a build.
func TestUploaderByIdentityRenewsTokens(t *testing.T) {
	for cloud, start := range startCloud {
		t.Run(cloud, func(t *testing.T) {
			fake := &uploadRegistry{sessions: map[string]*bytes.Buffer{}, blobs: map[string][]byte{}}
			tokens, image := start(t, fake)
			tokens.SetLifetime(3 * time.Second)
			uploader := startUpload(t, image)
			_, err := uploader.Upload(t.Context(), memoryBlob("first"), func(int64) {})
			require.NoError(t, err)
			first := tokens.Issued()
			require.Eventually(t, func() bool { return !tokens.Valid(first[0]) }, 10*time.Second, 50*time.Millisecond)
			tokens.ExpireAll()
			tokens.SetLifetime(time.Hour)

			_, err = uploader.Upload(t.Context(), memoryBlob("second"), func(int64) {})

			require.NoError(t, err)
			assert.Greater(t, len(tokens.Issued()), len(first))
			assert.Len(t, fake.blobs, 2)
		})
	}
}

// A registry rejects a token before it has expired, in the middle of a blob.
func TestUploaderByIdentityReplacesRejectedToken(t *testing.T) {
	var patches int
	var amazon cloudTokens
	fake := &uploadRegistry{sessions: map[string]*bytes.Buffer{}, blobs: map[string][]byte{}}
	amazon, image := startCloud["ECR"](t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fake.ServeHTTP(w, r)
		if r.Method == http.MethodPatch {
			if patches++; patches == 2 {
				amazon.ExpireAll()
			}
		}
	}))
	uploader := startUpload(t, image)
	uploader.limits.bytes = mebibyte
	blob := content(4 * mebibyte)

	digest, err := uploader.Upload(t.Context(), blob, func(int64) {})

	require.NoError(t, err)
	assert.Equal(t, []byte(blob), fake.blobs[digest.String()])
	assert.Equal(t, 2, amazon.Requests())
}

// An identity that is refused in the middle of a build fails it at once.
func TestUploaderByIdentityRefused(t *testing.T) {
	amazon := clouds.StartAmazon(t)
	amazon.ProjectRole(t)
	amazon.SetLifetime(3 * time.Second)
	hosts.Serve(t, ecrHost, amazon.ElasticContainerRegistry(&uploadRegistry{sessions: map[string]*bytes.Buffer{}, blobs: map[string][]byte{}}))
	uploader := startUpload(t, ecrHost+"/models/resnet:v1")
	amazon.Session.Refuse(clouds.AccessDenied)
	require.Eventually(t, func() bool { return !amazon.Valid(amazon.Issued()[0]) }, 10*time.Second, 50*time.Millisecond)

	_, err := uploader.Upload(t.Context(), memoryBlob("weights"), func(int64) {})

	assertKind(t, Unauthorized, err, "the build cannot log in to the registry "+ecrHost+": AWS refused the AWS role")
	assert.NotContains(t, err.Error(), "eyJ")
}

func TestConfigOpenWithoutIdentity(t *testing.T) {
	regcred := credentialsFor(t, dockerHubAccess)
	denied := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	tests := map[string]struct {
		start       func(t *testing.T)
		credentials Credentials
		host, want  string
		kind        Kind
	}{
		"no identity": {
			host: ecrHost, start: clouds.NoIdentity, kind: Unauthorized,
			want: "the registry " + ecrHost + " denied access to models/resnet (401 Unauthorized); credentials: none (the push Secret does not exist; the service account modelkiln-build has no identity of AWS: kubectl annotate serviceaccount modelkiln-build eks.amazonaws.com/role-arn=ROLE_ARN, or create a Secret)",
		},
		"no identity and no entry": {
			host: azureHost, start: clouds.NoIdentity, credentials: regcred, kind: Unauthorized,
			want: "credentials: none (Secret regcred has no entry for it; the service account modelkiln-build has no identity of Azure: kubectl annotate serviceaccount",
		},
		"a refused identity": {
			host: ecrHost, kind: Unauthorized, start: func(t *testing.T) {
				a := clouds.StartAmazon(t)
				a.ProjectRole(t)
				a.Session.Refuse(clouds.AccessDenied)
			},
			want: "AWS refused the AWS role " + clouds.Role + " of the service account modelkiln-build (AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity with *** really",
		},
		"an identity that may not push": {
			host: googleHost, kind: Unauthorized, start: func(t *testing.T) { clouds.StartGoogle(t) },
			want: "credentials: the Google identity " + clouds.Email + " of the service account modelkiln-build, which needs roles/artifactregistry.writer to push",
		},
		"a token service that is not available": {
			host: googleHost, kind: Unreachable, start: func(t *testing.T) {
				clouds.StartGoogle(t).Refuse(func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
			},
			want: "Google Cloud issued no token to the identity of the service account modelkiln-build",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.start(t)
			hosts.Serve(t, tt.host, denied)
			r, tag, err := open(t, withIdentity(t, tt.credentials), tt.host+"/models/resnet:v1", Push)
			if err == nil {
				err = r.CheckPush(tag)
			}
			assertKind(t, tt.kind, err, tt.want)
			assert.NotContains(t, err.Error(), "eyJ")
			assert.Less(t, len(err.Error()), 500, "the advice at the end is not cut off")
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tt.kind == Unreachable, e.Transient)
		})
	}
}

// Public images are pulled although the identity is refused, as that of a role for
// private repositories only.
func TestConfigOpenPublicRepository(t *testing.T) {
	a := clouds.StartAmazon(t)
	a.ProjectRole(t)
	a.Refuse(func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) })
	hosts.Serve(t, "public.ecr.aws", newRegistry())
	r, tag, err := open(t, withIdentity(t, Credentials{}), "public.ecr.aws/docker/busybox:1", Pull)
	require.NoError(t, err)
	_, err = r.Fetch(t.Context(), tag)
	assert.True(t, IsNotFound(err), err)
}

// No host of others gets a token.
func TestConfigOpenLookAlike(t *testing.T) {
	for _, host := range []string{ecrHost + ".evil.example", googleHost + ".evil.example", azureHost + ".evil.example"} {
		t.Run(host, func(t *testing.T) {
			amazon := clouds.StartAmazon(t)
			amazon.ProjectRole(t)
			azure := clouds.StartAzure(t)
			azure.Project(t)
			google := clouds.StartGoogle(t)
			hosts.Serve(t, host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Empty(t, r.Header.Get("Authorization"))
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			c, err := Config{PlainHTTP: []string{host}}.WithIdentity()
			require.NoError(t, err)
			r, tag, err := open(t, c, host+"/models/resnet:v1", Push)
			if err == nil {
				err = r.CheckPush(tag)
			}
			assertKind(t, Unauthorized, err, "credentials: none (the push Secret does not exist)")
			assert.Zero(t, amazon.Requests()+amazon.Session.Requests()+azure.Entra.Requests()+google.Requests())
		})
	}
}

func TestCredentialHelpers(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"ecr-login":                 {content: `{"credHelpers": {"` + ecrHost + `": "ecr-login"}}`},
		"a store":                   {content: `{"auths": {"` + ecrHost + `": {}}, "credsStore": "ecr-login"}`},
		"another cloud's":           {content: `{"credHelpers": {"` + ecrHost + `": "gcloud"}}`, want: `names the credential helper "gcloud" for ` + ecrHost + `, which is not a registry of Google Artifact Registry: add a username and a password`},
		"unknown":                   {content: `{"credHelpers": {"` + ecrHost + `": "pass"}}`, want: `names the credential helper "pass" for ` + ecrHost + ` and contains no credentials`},
		"unknown, for another host": {content: `{"credHelpers": {"example.com": "pass"}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			amazon, image := startCloud["ECR"](t, newRegistry())
			r, tag, err := open(t, withIdentity(t, credentialsFor(t, tt.content)), image, Push)
			if tt.want != "" {
				assertKind(t, Unauthorized, err, tt.want)
				assert.Zero(t, amazon.Requests())
				return
			}
			require.NoError(t, err)
			require.NoError(t, r.CheckPush(tag))
		})
	}
}

func TestProxyForInternet(t *testing.T) {
	for address, proxied := range map[string]bool{
		"http://169.254.170.23/v1/credentials": false, "http://[fd00:ec2::23]/v1/credentials": false, "http://sts.amazonaws.com/": true,
	} {
		parsed, err := url.Parse(address)
		require.NoError(t, err)
		proxy, err := proxyForInternet(&http.Request{URL: parsed})
		require.NoError(t, err)
		assert.Equal(t, proxied, proxy != nil, address)
	}
}

func TestConfigWithIdentityErrors(t *testing.T) {
	file := t.TempDir() + "/ca.crt"
	require.NoError(t, os.WriteFile(file, []byte("nothing"), 0o600))
	_, err := Config{CAFile: file}.WithIdentity()
	require.ErrorContains(t, err, "contains no certificate in PEM form")
}

// A request with a body is not sent again: only the uploader knows its content.
func TestRenewingTransportSendsBodyOnce(t *testing.T) {
	a := clouds.StartAmazon(t)
	a.ProjectRole(t)
	c := withIdentity(t, Credentials{})
	repository, err := name.NewRepository(ecrHost + "/models/resnet")
	require.NoError(t, err)
	credential, found, err := c.Credentials.Identity(t.Context(), repository)
	require.NoError(t, err)
	require.True(t, found)
	sent := 0
	transport := c.Credentials.renewing(roundTripper(func(*http.Request) (*http.Response, error) {
		sent++
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
	}), repository)
	for _, body := range []io.Reader{bytes.NewReader([]byte("x")), nil} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "https://"+ecrHost+"/", body)
		require.NoError(t, err)
		req.SetBasicAuth(credential.Username, credential.Password)
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		_ = resp.Body.Close()
	}
	assert.Equal(t, 2, sent, "the second request has the rejected credentials too")
	assert.Equal(t, authn.Anonymous, Credentials{}.identity.Authenticator(t.Context(), ecrHost))
}

type roundTripper func(req *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
