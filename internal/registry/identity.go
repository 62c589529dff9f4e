package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/internal/registry/identity"
)

// WithIdentity returns a configuration whose credentials fall back to the identity of
// the service account, for registries of clouds.
func (c Config) WithIdentity() (Config, error) {
	transport, err := NewTransport(c.CAFile)
	if err != nil {
		return Config{}, err
	}
	transport.Proxy = proxyForInternet
	c.Credentials.identity = identity.New(transport, c.Insecure)
	return c, nil
}

// podIdentityIPv6 is the address of EKS Pod Identity's agent in clusters with IPv6.
var podIdentityIPv6 = netip.MustParseAddr("fd00:ec2::23")

// proxyForInternet returns the proxy of the environment, but none for services of the
// node, which a proxy does not reach.
func proxyForInternet(req *http.Request) (*url.URL, error) {
	if ip, err := netip.ParseAddr(req.URL.Hostname()); err == nil && (ip.IsLinkLocalUnicast() || ip == podIdentityIPv6) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// renewing returns a transport that replaces credentials of an identity that the
// registry rejects although they have not expired.
func (c Credentials) renewing(inner http.RoundTripper, repository name.Repository) http.RoundTripper {
	if c.Has(repository) {
		return inner
	}
	return renewingTransport{inner: inner, identity: c.identity, host: repository.RegistryStr()}
}

type renewingTransport struct {
	inner    http.RoundTripper
	identity *identity.Identity
	host     string
}

func (t renewingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.inner.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !t.identity.Reject(t.host, req.Header.Get("Authorization")) {
		return resp, err
	}
	if req.Body != nil && req.Body != http.NoBody {
		// A body cannot be sent twice. The uploader resumes with the new credentials.
		return resp, nil
	}
	credential, err := t.identity.Credential(req.Context(), t.host)
	if err != nil {
		return resp, nil //nolint:nilerr // The rejection is returned.
	}
	_ = resp.Body.Close()
	again := req.Clone(req.Context())
	again.SetBasicAuth(credential.Username, credential.Password)
	return t.inner.RoundTrip(again)
}

// Identity returns the credentials that the identity of the service account has for a
// repository. found is false if the push secret has an entry for the repository, or if
// there is no identity. The error is an *Error for an identity that gets no token.
func (c Credentials) Identity(ctx context.Context, repository name.Repository) (credential identity.Credential, found bool, err error) {
	if c.Has(repository) {
		return identity.Credential{}, false, nil
	}
	credential, err = c.identity.Credential(ctx, repository.RegistryStr())
	var problem *identity.Error
	switch {
	case err == nil:
		return credential, true, nil
	case errors.As(err, &problem) && !problem.Absent:
		return identity.Credential{}, false, explainIdentity(repository, problem)
	default:
		return identity.Credential{}, false, nil
	}
}

// explainIdentity returns the error for a registry to which the identity cannot log
// in.
func explainIdentity(repository name.Repository, problem *identity.Error) *Error {
	kind := Unauthorized
	if problem.Transient {
		kind = Unreachable
	}
	message := fmt.Sprintf("the build cannot log in to the registry %s: %s", repository.RegistryStr(), problem.Message)
	return &Error{Kind: kind, Message: message, Transient: problem.Transient, Cause: problem}
}
