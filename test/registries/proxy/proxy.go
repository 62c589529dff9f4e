// Package proxy puts a proxy in front of a registry, as companies do. The proxy
// has a Behavior until it is repaired.
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

// Forward sends every request to a registry, which it accesses over plain HTTP.
func Forward(registry string) http.Handler {
	return &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: registry})
		// The registry then returns upload locations at this address.
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
}

// quiet is the log of servers whose clients distrust them or hang up.
var quiet = log.New(io.Discard, "", 0)

// Start starts a proxy in front of a registry, which it accesses over plain HTTP.
// The proxy listens on a free port of the address until the test ends, and
// serves HTTPS if it has a certificate.
func Start(t *testing.T, address, registry string, behavior Behavior, certificates ...tls.Certificate) *Proxy {
	t.Helper()
	forward := Forward(registry)
	changed := behavior(forward)
	p := &Proxy{}
	p.Host = Serve(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.repaired.Load() {
			forward.ServeHTTP(w, r)
			return
		}
		changed.ServeHTTP(w, r)
	}), certificates...)
	return p
}

// Serve serves requests on a free port of the address until the test ends, over
// HTTPS if there is a certificate. It returns its host and port.
func Serve(t *testing.T, address string, handler http.Handler, certificates ...tls.Certificate) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener, server.Config.ErrorLog = listener, quiet
	t.Cleanup(server.Close)
	if len(certificates) == 0 {
		server.Start()
		return listener.Addr().String()
	}
	server.TLS = &tls.Config{Certificates: certificates}
	server.StartTLS()
	return listener.Addr().String()
}
