package clouds

import (
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
)

// Hosts serves requests over plain HTTP to hosts of the internet.
type Hosts struct {
	mu       sync.Mutex
	handlers map[string]http.Handler
}

// StartHosts starts a proxy for this process and those that it starts, before their
// first request. Only requests to loopback addresses do not use it.
func StartHosts() *Hosts {
	h := &Hosts{handlers: map[string]http.Handler{}}
	server := httptest.NewServer(h)
	_ = os.Setenv("HTTP_PROXY", server.URL)
	return h
}

// Serve serves a host until the test ends.
func (h *Hosts) Serve(t *testing.T, host string, handler http.Handler) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handlers[host] = handler
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.handlers, host)
	})
}

func (h *Hosts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	handler := h.handlers[r.Host]
	h.mu.Unlock()
	if handler == nil {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	handler.ServeHTTP(w, r)
}
