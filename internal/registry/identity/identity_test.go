package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
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

func newIdentity() *Identity {
	return New(http.DefaultTransport.(*http.Transport), func(string) bool { return true })
}

// tokens are what the stand-ins of all clouds have.
type tokens interface {
	Valid(token string) bool
	Requests() int
}

// started is a cloud whose identity the pod has.
type started struct {
	tokens
	host, user, account string
}

// start starts every cloud in the same way.
var start = map[string]func(t *testing.T) started{
	"a role of Amazon": func(t *testing.T) started {
		a := clouds.StartAmazon(t)
		a.ProjectRole(t)
		return started{tokens: a, host: ecrHost, user: "AWS", account: "the AWS role " + clouds.Role + " of the service account modelkiln-build"}
	},
	"an EKS Pod Identity": func(t *testing.T) started {
		a := clouds.StartAmazon(t)
		a.ProjectPodIdentity(t)
		return started{tokens: a, host: "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", user: "AWS", account: "the EKS Pod Identity of the service account modelkiln-build"}
	},
	"a public registry of Amazon": func(t *testing.T) started {
		a := clouds.StartAmazon(t)
		a.ProjectRole(t)
		return started{tokens: a, host: "public.ecr.aws", user: "AWS", account: "the AWS role " + clouds.Role + " of the service account modelkiln-build"}
	},
	"Google": func(t *testing.T) started {
		return started{tokens: clouds.StartGoogle(t), host: googleHost, user: "oauth2accesstoken", account: "the Google identity " + clouds.Email + " of the service account modelkiln-build"}
	},
	"Azure": func(t *testing.T) started {
		a := clouds.StartAzure(t)
		a.Project(t)
		hosts.Serve(t, azureHost, a.ContainerRegistry(http.NotFoundHandler()))
		return started{tokens: a, host: azureHost, account: "the Azure identity " + clouds.ClientID + " of the service account modelkiln-build"}
	},
}

// tokenOf returns the token of a credential.
func tokenOf(c authn.AuthConfig) string { return c.Password + c.IdentityToken }

func TestIdentityCredential(t *testing.T) {
	for name, start := range start {
		t.Run(name, func(t *testing.T) {
			cloud := start(t)
			i := newIdentity()

			got, err := i.Credential(t.Context(), cloud.host)

			require.NoError(t, err)
			assert.Equal(t, cloud.user, got.Username)
			assert.True(t, cloud.Valid(tokenOf(got.AuthConfig)))
			assert.WithinDuration(t, time.Now().Add(time.Hour), got.Expires, time.Minute)
			account, role := i.Account(cloud.host)
			assert.Equal(t, cloud.account, account)
			assert.NotEmpty(t, role)
			assert.Nil(t, i.Problem(cloud.host))
			assert.Contains(t, i.Secrets(), tokenOf(got.AuthConfig))
			again, err := i.Credential(t.Context(), cloud.host)
			require.NoError(t, err)
			assert.Equal(t, got, again)
			assert.Equal(t, 1, cloud.Requests(), "a valid token is not requested again")

			_, err = i.Credential(t.Context(), cloud.host+".evil.example")
			require.ErrorIs(t, err, ErrNotServed)
			assert.Equal(t, authn.Anonymous, i.Authenticator(t.Context(), cloud.host+".evil.example"))
			assert.Equal(t, 1, cloud.Requests(), "nothing is requested for other hosts")
		})
	}
}

func TestIdentityCredentialIsRenewed(t *testing.T) {
	for name, start := range start {
		t.Run(name, func(t *testing.T) {
			cloud := start(t)
			i := newIdentity()
			now := time.Now()
			i.now = func() time.Time { return now }
			authenticator := i.Authenticator(t.Context(), cloud.host)
			first, err := authenticator.Authorization()
			require.NoError(t, err)

			now = now.Add(time.Hour - 2*renewBefore)
			same, err := authn.Authorization(t.Context(), authenticator)
			require.NoError(t, err)
			assert.Equal(t, first, same)

			now = now.Add(renewBefore + time.Minute)
			second, err := authn.Authorization(t.Context(), authenticator)
			require.NoError(t, err)
			assert.NotEqual(t, tokenOf(*first), tokenOf(*second))
			assert.True(t, cloud.Valid(tokenOf(*second)))
			assert.Subset(t, i.Secrets(), []string{tokenOf(*first), tokenOf(*second)})
		})
	}
}

// A token that is still valid is used although the cloud issues no other.
func TestIdentityCredentialWithoutRenewal(t *testing.T) {
	google := clouds.StartGoogle(t)
	i := newIdentity()
	first, err := i.Credential(t.Context(), googleHost)
	require.NoError(t, err)
	google.Refuse(clouds.PermissionDenied)
	i.session(googleHost).renew = time.Time{}

	second, err := i.Credential(t.Context(), googleHost)
	require.NoError(t, err)
	assert.Equal(t, first, second)
	assert.Equal(t, 2, google.Requests())

	i.session(googleHost).credential.Expires = time.Now()
	_, err = i.Credential(t.Context(), googleHost)
	require.ErrorContains(t, err, "Google Cloud refused the identity")
	assert.Equal(t, 2, google.Requests(), "the refusal is remembered")
}

func TestIdentityWithoutIdentity(t *testing.T) {
	clouds.NoIdentity(t)
	for host, want := range map[string]string{
		ecrHost:    "the service account modelkiln-build has no identity of AWS: kubectl annotate serviceaccount modelkiln-build eks.amazonaws.com/role-arn=ROLE_ARN, or create a Secret",
		googleHost: "the service account modelkiln-build has no identity of Google Cloud: kubectl annotate serviceaccount modelkiln-build iam.gke.io/gcp-service-account=EMAIL, or create a Secret",
		azureHost:  "the service account modelkiln-build has no identity of Azure: kubectl annotate serviceaccount modelkiln-build azure.workload.identity/client-id=CLIENT_ID, or create a Secret",
	} {
		t.Run(host, func(t *testing.T) {
			i := newIdentity()
			begin := time.Now()
			assert.Equal(t, authn.Anonymous, i.Authenticator(t.Context(), host))
			assert.Less(t, time.Since(begin), 2*probeTimeout)
			require.NotNil(t, i.Problem(host))
			assert.Equal(t, &Error{Message: want, Absent: true}, i.Problem(host))
			account, role := i.Account(host)
			assert.Empty(t, account+role)

			// It is not looked for again.
			begin = time.Now()
			assert.Equal(t, authn.Anonymous, i.Authenticator(t.Context(), host))
			assert.Less(t, time.Since(begin), probeTimeout/2)
		})
	}
	t.Run("nil", func(t *testing.T) {
		var none *Identity
		_, err := none.Credential(t.Context(), ecrHost)
		require.ErrorIs(t, err, ErrNotServed)
		assert.Nil(t, none.Problem(ecrHost))
		assert.Empty(t, none.Secrets())
	})
}

// The address of Google's metadata server is that of another server in other clouds,
// or of none.
func TestIdentityOnAnotherCloud(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	listening := func(handler http.HandlerFunc) string {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := &http.Server{Handler: handler}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		return listener.Addr().String()
	}
	for name, address := range map[string]string{
		"no answer":      silent.Addr().String(),
		"AWS":            listening(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }),
		"Azure":          listening(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }),
		"OpenStack":      listening(http.NotFound),
		"a page for all": listening(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>") }),
	} {
		t.Run(name, func(t *testing.T) {
			clouds.NoIdentity(t)
			t.Setenv("GCE_METADATA_HOST", address)
			begin := time.Now()
			_, err := newIdentity().Credential(t.Context(), googleHost)
			require.ErrorContains(t, err, "has no identity of Google Cloud")
			assert.Less(t, time.Since(begin), 2*probeTimeout)
		})
	}
}

func TestIdentityRefused(t *testing.T) {
	unavailable := func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }
	throttled := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>`)
	}
	amazon := func(session, token func(w http.ResponseWriter)) func(t *testing.T) {
		return func(t *testing.T) {
			a := clouds.StartAmazon(t)
			a.ProjectRole(t)
			a.Session.Refuse(session)
			a.Refuse(token)
		}
	}
	azure := func(entra, token func(w http.ResponseWriter)) func(t *testing.T) {
		return func(t *testing.T) {
			a := clouds.StartAzure(t)
			a.Project(t)
			a.Entra.Refuse(entra)
			a.Refuse(token)
			hosts.Serve(t, azureHost, a.ContainerRegistry(http.NotFoundHandler()))
		}
	}
	tests := map[string]struct {
		host      string
		start     func(t *testing.T)
		want      string
		transient bool
	}{
		"STS": {
			host: ecrHost, start: amazon(clouds.AccessDenied, nil),
			want: "AWS refused the AWS role " + clouds.Role + " of the service account modelkiln-build (AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity with ***",
		},
		"STS, throttled": {host: ecrHost, start: amazon(throttled, nil), want: "AWS issued no token to", transient: true},
		"ECR": {
			host: ecrHost, start: amazon(nil, func(w http.ResponseWriter) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprint(w, `{"__type": "AccessDeniedException", "message": "User is not authorized to perform: ecr:GetAuthorizationToken on resource: *"}`)
			}),
			want: "(AccessDeniedException: User is not authorized to perform: ecr:GetAuthorizationToken on resource: *): correct the role's trust policy, or create a Secret",
		},
		"metadata server": {
			host: googleHost, start: func(t *testing.T) { clouds.StartGoogle(t).Refuse(clouds.PermissionDenied) },
			want: "Google Cloud refused the identity of the service account modelkiln-build (Unable to generate access token; IAM returned 403 Forbidden: Permission 'iam.serviceAccounts.getAccessToken' denied",
		},
		"metadata server, unavailable": {
			host: googleHost, start: func(t *testing.T) { clouds.StartGoogle(t).Refuse(unavailable) },
			want: "Google Cloud issued no token to the identity of the service account modelkiln-build (503", transient: true,
		},
		"Entra ID": {
			host: azureHost, start: azure(clouds.NoFederatedCredential, nil),
			want: "Azure refused the Azure identity " + clouds.ClientID + " of the service account modelkiln-build (AADSTS70021: No matching federated identity record found for presented assertion ***. Trace ID: 1): correct its federated credential, or create a Secret",
		},
		"Entra ID, unavailable": {host: azureHost, start: azure(unavailable, nil), want: "Azure issued no token to", transient: true},
		"the exchange": {
			host: azureHost, start: azure(nil, func(w http.ResponseWriter) {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = fmt.Fprint(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "client with IP 1.2.3.4 is not allowed access"}]}`)
			}),
			want: "(client with IP 1.2.3.4 is not allowed access)",
		},
		"the exchange, unavailable": {host: azureHost, start: azure(nil, unavailable), want: "Azure issued no token to", transient: true},
		"no registry": {
			host: azureHost, start: func(t *testing.T) { clouds.StartAzure(t).Project(t) },
			want: "Azure issued no token to", transient: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.start(t)
			i := newIdentity()

			_, err := i.Credential(t.Context(), tt.host)

			var got *Error
			require.ErrorAs(t, err, &got)
			assert.Contains(t, got.Message, tt.want)
			assert.Equal(t, tt.transient, got.Transient, got.Message)
			assert.NotContains(t, got.Message, "eyJ", "no token")
			assert.NotContains(t, got.Message, "\n")
			assert.Less(t, len(got.Message), 400)
			assert.Equal(t, authn.Anonymous, i.Authenticator(t.Context(), tt.host))
		})
	}
}

// A redirect of a registry is not followed with a token.
func TestIdentityFollowsNoRedirect(t *testing.T) {
	a := clouds.StartAzure(t)
	a.Project(t)
	redirected := false
	hosts.Serve(t, "evil.example", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected = true }))
	hosts.Serve(t, azureHost, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://evil.example/", http.StatusTemporaryRedirect)
	}))

	_, err := newIdentity().Credential(t.Context(), azureHost)

	require.ErrorContains(t, err, "307 Temporary Redirect")
	assert.False(t, redirected)
}

func TestIdentityWithMissingTokenFile(t *testing.T) {
	for host, start := range map[string]func(t *testing.T){
		ecrHost: func(t *testing.T) {
			clouds.StartAmazon(t).ProjectRole(t)
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
		},
		azureHost: func(t *testing.T) {
			clouds.StartAzure(t).Project(t)
			t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token")
		},
	} {
		start(t)
		_, err := newIdentity().Credential(t.Context(), host)
		var got *Error
		require.ErrorAs(t, err, &got)
		assert.False(t, got.Transient)
		assert.Contains(t, got.Message, "/nowhere/token: no such file or directory")
	}
}

// Several layers are sent at the same time.
func TestIdentityCredentialForSeveral(t *testing.T) {
	google := clouds.StartGoogle(t)
	i := newIdentity()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, err := i.Credential(t.Context(), googleHost)
			assert.NoError(t, err)
		})
	}
	group.Wait()
	assert.Equal(t, 1, google.Requests())
}

// A caller that gives up does not affect others.
func TestIdentityCredentialCanceled(t *testing.T) {
	clouds.StartGoogle(t)
	i := newIdentity()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := i.Credential(ctx, googleHost)
	require.Error(t, err)
	_, err = i.Credential(t.Context(), googleHost)
	require.NoError(t, err)
}

func TestAsErrorBoundsWords(t *testing.T) {
	got := asError(cloudOf(ecrHost), refusal{account: "x", words: strings.Repeat("a\n", 1000)})
	assert.Less(t, len(got.Message), 300)
	assert.NotContains(t, got.Message, "\n")
	assert.True(t, asError(cloudOf(ecrHost), errors.New("other")).Transient)
}

// A role comes from an annotation.
func TestAmazonAccountBoundsRole(t *testing.T) {
	clouds.StartAmazon(t).ProjectRole(t)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/"+strings.Repeat("a\n", 1000))
	got := amazonAccount()
	assert.Less(t, len(got), 300)
	assert.NotContains(t, got, "\n")
}
