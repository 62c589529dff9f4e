//go:build e2e

package e2e

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// fault answers a request in the registry's place and says whether it did.
type fault func(w http.ResponseWriter, r *http.Request) (handled bool)

// answers is a fault that gives every request the same answer.
func answers(code int) fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

// faultyRegistry is a proxy before the cluster's registry, as companies put
// them, that does what its fault says until it is mended. What is pushed
// through it is in the cluster's registry.
type faultyRegistry struct {
	// host is its host and port, for pods and for this machine.
	host   string
	mended atomic.Bool
}

// mend lets every request through from now on.
func (f *faultyRegistry) mend() { f.mended.Store(true) }

// faultyRegistry starts a proxy that ends with the test. It speaks HTTPS if it
// is given a certificate.
func (c *cluster) faultyRegistry(t *testing.T, broken fault, certificates ...tls.Certificate) *faultyRegistry {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(c.machine(t).String(), "0"))
	require.NoError(t, err)
	f := &faultyRegistry{host: listener.Addr().String()}
	// Clients that distrust it or hang up are what its tests are about.
	quiet := log.New(io.Discard, "", 0)
	through := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: c.registry})
		// The registry names this address then as the one to go on at.
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.mended.Load() || !broken(w, r) {
			through.ServeHTTP(w, r)
		}
	}))
	_ = server.Listener.Close()
	server.Listener, server.Config.ErrorLog = listener, quiet
	t.Cleanup(server.Close)
	if len(certificates) == 0 {
		server.Start()
		return f
	}
	server.TLS = &tls.Config{Certificates: certificates}
	server.StartTLS()
	return f
}

// machine is this machine's address on the cable to the node, which pods reach
// and nobody beyond it.
func (c *cluster) machine(t *testing.T) net.IP {
	t.Helper()
	connection, err := new(net.Dialer).DialContext(t.Context(), "udp", c.registry)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	address, ok := connection.LocalAddr().(*net.UDPAddr)
	require.True(t, ok)
	return address.IP
}

// makeVersion is a version that is pushed through the proxy.
func (f *faultyRegistry) makeVersion(t *testing.T, name, namespace string, from folder) *builders.ModelVersionWrapper {
	t.Helper()
	return f.makeVersionBy(t, contract.BuildTemplate, name, namespace, from)
}

// makeVersionBy is the same for another template.
func (f *faultyRegistry) makeVersionBy(t *testing.T, template, name, namespace string, from folder) *builders.ModelVersionWrapper {
	t.Helper()
	return makeVersionAt(t, f.host, template, name, namespace, from)
}

// makeVersionAt is a version that is pushed to a registry of the test's own. Its
// template, which bears the namespace's name, is a platform team's own: the steps
// speak to the registry in plain HTTP, which the operator's configuration does not
// say.
func makeVersionAt(t *testing.T, host, template, name, namespace string, from folder) *builders.ModelVersionWrapper {
	t.Helper()
	own := copyOf(t, template, namespace)
	for _, step := range []string{"mount-check", "build", "status-report"} {
		args := containerOf(t, own, step).Args
		for i, arg := range args {
			if strings.HasPrefix(arg, "--plain-http=") {
				args[i] += "," + host
			}
		}
	}
	live.create(t, own)
	live.deleteAfter(t, own)
	return makeVersion(name, namespace, from).ImageRepo(host + "/e2e/" + namespace).WorkflowTemplate(namespace)
}

// holdsBehind checks the version's image in the cluster's registry, where the
// proxy has put it.
func (f *faultyRegistry) holdsBehind(t *testing.T, mv *v1alpha1.ModelVersion, from folder) {
	t.Helper()
	require.Contains(t, mv.Status.Image, f.host)
	behind := mv.DeepCopy()
	behind.Status.Image = strings.Replace(mv.Status.Image, f.host, live.registry, 1)
	holds(t, behind, from)
}
