//go:build e2e

package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// proxiedRegistry is the cluster's registry behind a proxy with a fault, which
// pods and this machine reach under the same address.
type proxiedRegistry struct{ *proxy.Proxy }

// proxiedRegistry starts a proxy that ends with the test. It serves HTTPS if it
// has a certificate.
func (c *cluster) proxiedRegistry(t *testing.T, behavior proxy.Behavior, certificates ...tls.Certificate) proxiedRegistry {
	t.Helper()
	return proxiedRegistry{proxy.Start(t, c.machine(t).String(), c.registry, behavior, certificates...)}
}

// machine returns this machine's address on the cable to the node, which pods
// reach and nobody beyond it.
func (c *cluster) machine(t *testing.T) net.IP {
	t.Helper()
	connection, err := new(net.Dialer).DialContext(t.Context(), "udp", c.registry)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	address, ok := connection.LocalAddr().(*net.UDPAddr)
	require.True(t, ok)
	return address.IP
}

// serve serves HTTP until the test ends, and returns the URL, which pods reach.
func (c *cluster) serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(c.machine(t).String(), "0"))
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// makeVersion returns a ModelVersion that is pushed through the proxy.
func (r proxiedRegistry) makeVersion(t *testing.T, name, namespace string, from directory) *builders.ModelVersionWrapper {
	t.Helper()
	return makeVersionAt(t, r.Host, name, namespace, from)
}

// makeVersionAt returns a ModelVersion that is pushed to a registry of the test's
// own. Its template, which has the namespace's name, is a platform team's own: its
// steps access the registry over plain HTTP, which the operator's configuration
// does not say.
func makeVersionAt(t *testing.T, host, name, namespace string, from directory) *builders.ModelVersionWrapper {
	t.Helper()
	template := copyOfTemplate(t, namespace)
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		args := containerOf(t, template, step).Args
		for i, arg := range args {
			if strings.HasPrefix(arg, "--plain-http=") {
				args[i] += "," + host
			}
		}
	}
	live.create(t, template)
	live.deleteAfter(t, template)
	return makeVersion(name, namespace, from).ImageRepo(host + "/e2e/" + namespace).WorkflowTemplate(namespace)
}

// assertImage checks the ModelVersion's image in the cluster's registry, where
// the proxy has put it.
func (r proxiedRegistry) assertImage(t *testing.T, mv *v1alpha1.ModelVersion, from directory) {
	t.Helper()
	require.Contains(t, mv.Status.Image, r.Host)
	behind := mv.DeepCopy()
	behind.Status.Image = strings.Replace(mv.Status.Image, r.Host, live.registry, 1)
	assertImage(t, behind, from)
}
