package registries

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/registries/imitation"
	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// target is a registry that builds push to. A meter is in front of it.
type target struct {
	// front is the imitation, if it is one.
	front *proxy.Proxy
	// host is the host and port that builds know.
	host string
	// authority is the certificate of the authority that builds trust, in PEM; empty
	// over plain HTTP.
	authority string
	// closed is whether the registry wants the one user's password.
	closed bool
	// repository is empty for that of newPod.
	repository string
	// pullHost is the host and port from which a test pulls, with these options.
	pullHost string
	options  []remote.Option

	// sent counts the bytes of blobs that were sent.
	sent atomic.Int64
	// cut has the next large request cut, once.
	cut atomic.Bool
}

// cutAfter is how many bytes of a request arrive that is cut.
const cutAfter = 1 << 20

// meter counts, and cuts.
func (g *target) meter() proxy.Behavior {
	return proxy.All(
		proxy.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
			if proxy.IsUpload(r) {
				proxy.Observe(r, func(n int) { g.sent.Add(int64(n)) })
			}
			return false
		}),
		proxy.Cut(cutAfter, func(r *http.Request) bool { return proxy.IsUpload(r) && g.cut.CompareAndSwap(true, false) }),
	)
}

// openTarget is a real registry that everyone can push to, over plain HTTP.
func openTarget(start func(t *testing.T) string) func(t *testing.T) *target {
	return func(t *testing.T) *target {
		t.Helper()
		registry := start(t)
		g := &target{pullHost: registry}
		g.host = proxy.Start(t, localhost, registry, g.meter()).Host
		return g
	}
}

// encryptedTarget is a real registry behind HTTPS, with a certificate of a company's
// own authority. The function starts the registry, and gets the certificate for a
// token service.
func encryptedTarget(closed bool, start func(t *testing.T, certificate tls.Certificate) string) func(t *testing.T) *target {
	return func(t *testing.T) *target {
		t.Helper()
		certificate, authority := proxy.Certificate(t, net.ParseIP(localhost))
		g := &target{authority: authority, closed: closed}
		g.host = proxy.Start(t, localhost, start(t, certificate), g.meter(), certificate).Host
		g.pullHost = g.host
		g.options = append(g.options, remote.WithTransport(trusting(t, authority)))
		if closed {
			g.options = append(g.options, remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword}))
		}
		return g
	}
}

// trusting is a client that trusts an authority.
func trusting(t *testing.T, authority string) http.RoundTripper {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(authority)))
	client := http.DefaultTransport.(*http.Transport).Clone()
	client.TLSClientConfig = &tls.Config{RootCAs: pool}
	return client
}

// withPassword is a distribution that asks for a password itself.
func withPassword(program string) func(t *testing.T) *target {
	return encryptedTarget(true, func(t *testing.T, _ tls.Certificate) string {
		t.Helper()
		users := filepath.Join(t.TempDir(), "users")
		require.NoError(t, os.WriteFile(users, []byte(registryUsers), 0o600))
		return startDistributionOf(t, program, fmt.Sprintf("auth: {htpasswd: {realm: models, path: %q}}", users)).host
	})
}

// withTokens is a distribution that trusts the tokens of a token service.
func withTokens(program string) func(t *testing.T) *target {
	return encryptedTarget(true, func(t *testing.T, certificate tls.Certificate) string {
		t.Helper()
		return startDistributionOf(t, program, startTokenService(t, certificate)).host
	})
}

// imitated is an imitation in front of a distribution.
func imitated(of imitation.Imitation) func(t *testing.T) *target {
	return func(t *testing.T) *target {
		t.Helper()
		registry := startOpen(t)
		g := &target{pullHost: registry}
		g.front = proxy.Start(t, localhost, registry, proxy.All(g.meter(), of.Behave(t, registry, g.meter())))
		g.host = g.front.Host
		return g
	}
}

// newPod returns the pod of a build that pushes to the target.
func (g *target) newPod(t *testing.T) *pod {
	t.Helper()
	p := newPod(t, g.host)
	p.repository = cmp.Or(g.repository, p.repository)
	if g.authority != "" {
		p.encrypted = true
		require.NoError(t, os.WriteFile(p.path("registry-ca/ca.crt"), []byte(g.authority), 0o600))
	}
	if g.closed {
		p.pushSecretRequired = true
		p.writePushSecret(t, registryPassword)
	}
	return p
}
