// Package identity obtains credentials for the registries of clouds by the identity
// that a cloud gives to the service account of the pod, so that no password has to be
// stored: by IAM roles for service accounts and EKS Pod Identity for Amazon ECR, by
// Workload Identity for Google Artifact Registry, and by Workload Identity for Azure
// Container Registry. What that takes is projected into the pod by the cloud's own
// webhooks, or served by its metadata server. The identity of the node is not used for
// Amazon and Azure.
//
// Alternatives, measured as the size of modelkiln-step and the number of modules in
// it. None: 12.1 MB, 28. This package: 15.6 MB, 46. The credential helpers of the three
// clouds: 15.4 MB, 60, but that of Azure is unmaintained, and sends tokens to hosts that
// only contain the name of a registry. With azidentity instead of x/oauth2: 16.8 MB, 55.
// go-containerregistry's k8schain: 29.6 MB, 87, and github.com/fluxcd/pkg/auth v0.40.0:
// 49.2 MB, 112, both with client-go, which steps must not import.
package identity

import (
	"context"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

const (
	// timeout is how long a cloud may take to issue a token.
	timeout = 10 * time.Second
	// renewBefore is how long before a token expires another one is obtained, at
	// most. Google's metadata server issues another one in the last five minutes.
	renewBefore = 4 * time.Minute
	// retryRefused and retryTransient are how long a failure is remembered.
	retryRefused   = time.Minute
	retryTransient = 5 * time.Second
)

// Credential is what logs in to a registry, until it expires.
type Credential struct {
	authn.AuthConfig
	// Expires is when the registry ceases to accept it.
	Expires time.Time
	// Account describes whose it is, for messages.
	Account string
}

// Identity obtains credentials and remembers them until they expire. A nil Identity
// has none for any host. It can be used by several goroutines.
type Identity struct {
	transport *http.Transport
	client    *http.Client
	plainHTTP func(host string) bool
	now       func() time.Time

	mu       sync.Mutex
	sessions map[string]*session
	secrets  []string
}

// request is a request for credentials.
type request struct {
	context.Context
	// host is the registry.
	host string
	// client does not follow redirects, which might lead to another host. transport is
	// its transport.
	client    *http.Client
	transport *http.Transport
	// scheme is that of the registry.
	scheme string
}

// New returns an Identity that sends its requests with the transport. plainHTTP
// reports whether a registry is accessed over plain HTTP.
func New(transport *http.Transport, plainHTTP func(host string) bool) *Identity {
	client := &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Identity{transport: transport, client: client, plainHTTP: plainHTTP, now: time.Now, sessions: map[string]*session{}}
}

// session is what is known of a registry.
type session struct {
	mu         sync.Mutex
	credential Credential
	// renew is when the credential should be replaced.
	renew time.Time
	// err is why there is none, until retry.
	err   *Error
	retry time.Time
	// rejected is when the registry last rejected a credential.
	rejected time.Time
}

// Credential returns credentials for a registry, which are valid for a while. The
// error is an *Error. ErrNotServed is returned for a host that is not a registry of a
// cloud.
func (i *Identity) Credential(ctx context.Context, host string) (Credential, error) {
	c := cloudOf(host)
	if i == nil || c == nil {
		return Credential{}, ErrNotServed
	}
	s := i.session(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := i.now()
	if now.Before(s.renew) {
		return s.credential, nil
	}
	if s.err == nil || !now.Before(s.retry) {
		s.credential, s.renew, s.err, s.retry = i.renew(ctx, c, host, s.credential, now)
	}
	if s.err != nil && !now.Before(s.credential.Expires) {
		return Credential{}, s.err
	}
	return s.credential, nil
}

// Reject has another credential obtained, because a registry rejected the one in a
// header for basic authentication before it has expired. It returns false for another
// header, and for a registry that also rejects new credentials.
func (i *Identity) Reject(host, header string) bool {
	if i == nil || cloudOf(host) == nil {
		return false
	}
	s := i.session(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := i.now()
	if header != "Basic "+basic(s.credential) || now.Before(s.rejected.Add(retryRefused)) {
		return false
	}
	s.rejected, s.renew, s.credential.Expires = now, time.Time{}, now
	return true
}

// basic returns a credential in the form of basic authentication.
func basic(c Credential) string {
	return base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
}

// Renew has the next credential for a registry obtained from the cloud, so that it is
// valid as long as possible.
func (i *Identity) Renew(host string) {
	if i == nil || cloudOf(host) == nil {
		return
	}
	s := i.session(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew = time.Time{}
}

// renew returns another credential and when to renew that, or the old one and why
// there is no other.
func (i *Identity) renew(ctx context.Context, c *cloud, host string, old Credential, now time.Time) (Credential, time.Time, *Error, time.Time) {
	scheme := "https"
	if i.plainHTTP(host) {
		scheme = "http"
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	credential, err := c.obtain(request{Context: bounded, host: host, client: i.client, transport: i.transport, scheme: scheme})
	if err != nil {
		failed := asError(c, err)
		if ctx.Err() != nil {
			// The caller has given up, and not the cloud.
			return old, time.Time{}, failed, now
		}
		return old, time.Time{}, failed, now.Add(failed.remember())
	}
	i.remember(credential)
	lifetime := credential.Expires.Sub(now)
	return credential, now.Add(lifetime - min(renewBefore, lifetime/4)), nil, time.Time{}
}

func (i *Identity) session(host string) *session {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sessions[host] == nil {
		i.sessions[host] = &session{}
	}
	return i.sessions[host]
}

// remember adds a credential to Secrets, in the forms in which it is sent.
func (i *Identity) remember(c Credential) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.secrets = append(i.secrets, c.Password+c.IdentityToken, basic(c))
}

// Secrets returns every string that must not appear in a log: the tokens that were
// obtained.
func (i *Identity) Secrets() []string {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.secrets...)
}

// Authenticator returns an Authenticator for a registry, which renews its
// credentials. It is authn.Anonymous if there are none at first: a repository may be
// public, and if it is not, Problem explains why there are none.
func (i *Identity) Authenticator(ctx context.Context, host string) authn.Authenticator {
	if _, err := i.Credential(ctx, host); err != nil {
		return authn.Anonymous
	}
	return authenticator{identity: i, host: host, ctx: ctx}
}

type authenticator struct {
	identity *Identity
	host     string
	// ctx is for callers that have no context.
	ctx context.Context
}

func (a authenticator) Authorization() (*authn.AuthConfig, error) {
	return a.AuthorizationContext(a.ctx)
}

func (a authenticator) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	credential, err := a.identity.Credential(ctx, a.host)
	if err != nil {
		return nil, err
	}
	return &credential.AuthConfig, nil
}

// Account returns a description of the identity that logs in to a registry, and what
// allows it to push, for messages; both are empty if there is none.
func (i *Identity) Account(host string) (account, role string) {
	c := cloudOf(host)
	if i == nil || c == nil {
		return "", ""
	}
	s := i.session(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credential.Account == "" {
		return "", ""
	}
	return s.credential.Account, c.role
}

// Problem returns why there were no credentials for a registry at the last attempt,
// or nil.
func (i *Identity) Problem(host string) *Error {
	if i == nil || cloudOf(host) == nil {
		return nil
	}
	s := i.session(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// serviceAccount is what messages call the service account.
const serviceAccount = "the service account " + contract.BuildServiceAccount
