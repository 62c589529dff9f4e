// Package proxy puts a proxy in front of a registry, as companies do. The proxy
// has a fault until it is repaired.
package proxy

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy is a running proxy. What is pushed through it is in the registry behind it.
type Proxy struct {
	// Host is the proxy's host and port.
	Host     string
	repaired atomic.Bool
}

// Repair lets all further requests through.
func (p *Proxy) Repair() { p.repaired.Store(true) }

// Start starts a proxy in front of a registry, which it accesses over plain HTTP.
// The proxy listens on a free port of the address until the test ends, and
// serves HTTPS if it has a certificate.
func Start(t *testing.T, address, registry string, fault Fault, certificates ...tls.Certificate) *Proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	p := &Proxy{Host: listener.Addr().String()}
	// The tests are about clients that distrust the proxy or hang up.
	quiet := log.New(io.Discard, "", 0)
	forward := &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: registry})
		// The registry then returns upload locations at this address.
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.repaired.Load() || !fault(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	_ = server.Listener.Close()
	server.Listener, server.Config.ErrorLog = listener, quiet
	t.Cleanup(server.Close)
	if len(certificates) == 0 {
		server.Start()
		return p
	}
	server.TLS = &tls.Config{Certificates: certificates}
	server.StartTLS()
	return p
}
