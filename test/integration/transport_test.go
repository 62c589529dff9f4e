package integration

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// transport is the operator's connection to the API server. It records every
// request. It can be disconnected for one namespace, which has the same effect
// on the objects there, and on the next operator, as a crash of the process.
type transport struct {
	next http.RoundTripper

	mu          sync.Mutex
	requests    []request
	responded   *sync.Cond
	disconnects map[string]*disconnect
}

// request is one request of the operator. Its status is zero until the response
// arrives, and noResponse if none does.
type request struct {
	method string
	path   string
	status int
}

const noResponse = -1

func (r request) String() string { return fmt.Sprintf("%s %s: %d", r.method, r.path, r.status) }

func (r request) isWrite() bool { return r.method != http.MethodGet }

// isEvent reports whether the request writes an event. Events are sent in the
// background, so that their order among other requests varies.
func (r request) isEvent() bool { return strings.HasSuffix(r.path, "/events") }

func (r request) inNamespace(namespace string) bool {
	return strings.Contains(r.path+"/", "/namespaces/"+namespace+"/")
}

// disconnect specifies at which write in a namespace the connection breaks, counted
// from one, and whether that write still reaches the API server. In both cases
// the operator receives no response.
type disconnect struct {
	atWrite   int
	delivered bool
}

var errDisconnected = errors.New("disconnected by the test")

func newTransport() *transport {
	tr := &transport{disconnects: map[string]*disconnect{}}
	tr.responded = sync.NewCond(&tr.mu)
	return tr
}

func (tr *transport) wrap(next http.RoundTripper) http.RoundTripper {
	tr.next = next
	return tr
}

// RoundTrip sends and records a request, unless the transport is disconnected.
func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	deliver, respond := tr.admit(request{method: r.Method, path: r.URL.Path})
	if !deliver {
		return nil, errDisconnected
	}
	// The request is recorded before it is sent: a test that sees its effect
	// also finds it here.
	tr.mu.Lock()
	index := len(tr.requests)
	tr.requests = append(tr.requests, request{method: r.Method, path: r.URL.Path})
	tr.mu.Unlock()
	resp, err := tr.next.RoundTrip(r)
	if err != nil {
		tr.recordStatus(index, noResponse)
		return nil, err
	}
	tr.recordStatus(index, resp.StatusCode)
	if !respond {
		resp.Body.Close()
		return nil, errDisconnected
	}
	return resp, nil
}

func (tr *transport) recordStatus(index, status int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.requests[index].status = status
	tr.responded.Broadcast()
}

// admit reports whether a request reaches the API server, and whether its
// response reaches the operator.
func (tr *transport) admit(r request) (deliver, respond bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for namespace, d := range tr.disconnects {
		if !r.inNamespace(namespace) {
			continue
		}
		if d.atWrite == 0 {
			return false, false
		}
		if !r.isWrite() || r.isEvent() {
			return true, true
		}
		d.atWrite--
		return d.atWrite > 0 || d.delivered, d.atWrite > 0
	}
	return true, true
}

// disconnected reports whether the transport is disconnected for a namespace.
func (tr *transport) disconnected(namespace string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	d := tr.disconnects[namespace]
	return d != nil && d.atWrite == 0
}

// all returns the requests so far.
func (tr *transport) all() []request {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.requests)
}

// requestsIn returns the requests in a namespace.
func (tr *transport) requestsIn(namespace string) []request {
	return slices.DeleteFunc(tr.all(), func(r request) bool { return !r.inNamespace(namespace) })
}

// writes returns the requests in a namespace that change something, once all
// of them have a response.
func (tr *transport) writes(namespace string) []request {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for {
		writes := slices.DeleteFunc(slices.Clone(tr.requests), func(r request) bool { return !r.inNamespace(namespace) || !r.isWrite() })
		if !slices.ContainsFunc(writes, func(r request) bool { return r.status == 0 }) {
			return writes
		}
		tr.responded.Wait()
	}
}

// summaries returns the writes in a namespace as "patch modelversions/status".
// It leaves out writes that the API server rejected because the operator's
// cache was stale: they changed nothing.
func (tr *transport) summaries(namespace string) []string {
	var list []string
	for _, r := range tr.writes(namespace) {
		if r.status == http.StatusConflict {
			continue
		}
		_, resource, _ := strings.Cut(r.path, "/namespaces/"+namespace+"/")
		parts := strings.Split(resource, "/")
		summary := strings.ToLower(r.method) + " " + parts[0]
		if len(parts) == 3 {
			summary += "/" + parts[2]
		}
		list = append(list, summary)
	}
	return list
}

// changes returns summaries without events, which are sent in the background.
func (tr *transport) changes(namespace string) []string {
	return slices.DeleteFunc(tr.summaries(namespace), func(summary string) bool { return summary == "post events" })
}
