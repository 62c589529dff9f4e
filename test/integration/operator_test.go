package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/manager"
)

const (
	// deadline is how long a test waits for what has to happen. It is long
	// enough for a busy machine; what is asserted is that it happens.
	deadline = 20 * time.Second
	// tick is how often a test looks.
	tick = 20 * time.Millisecond
)

// operator is a running operator.
type operator struct {
	t    *testing.T
	wire *wire
	stop func()
}

// startOperator starts the operator as cmd/modelkiln does, and ends it with
// the test unless that stops it before.
func startOperator(t *testing.T, server *apiServer, options ...func(*settings)) *operator {
	t.Helper()
	s := settings{config: config.Default(), wire: newWire()}
	s.manager.MetricsAddress, s.manager.ProbeAddress, s.manager.WebhookAddress = "0", "0", "0"
	s.manager.Namespace, s.manager.SharedProcess = operatorNamespace, true
	for _, option := range options {
		option(&s)
	}
	rc := server.serviceAccountConfig(t, operatorNamespace, operatorAccount)
	rc.Wrap(s.wire.over)
	mgr, err := manager.New(rc, s.config, s.manager)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	op := &operator{t: t, wire: s.wire, stop: sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the operator ended with an error: %v", err)
			}
		case <-time.After(deadline):
			t.Error("the operator did not end when it was told to")
		}
	})}
	t.Cleanup(op.stop)
	if !s.manager.LeaderElect {
		op.awaitCaches(ctx, mgr)
	}
	return op
}

func (op *operator) awaitCaches(ctx context.Context, mgr ctrl.Manager) {
	op.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	require.True(op.t, mgr.GetCache().WaitForCacheSync(ctx), "the operator's caches did not fill")
}

// settles waits until the operator has dealt with what the API server told it
// before this call: it takes one thing at a time, in the order of their
// arrival, and ends with a version that needs no more than a status.
func (op *operator) settles(t *testing.T, server *apiServer) {
	t.Helper()
	s := newScene(t, server)
	s.apply(localVersion, set(localPath, "/etc"))
	s.awaitReason("resnet-1", v1alpha1.ReasonSourceForbidden)
}

// settings are how an operator is started.
type settings struct {
	config  config.Config
	manager manager.Options
	wire    *wire
}

func withConfig(edit func(*config.Config)) func(*settings) {
	return func(s *settings) { edit(&s.config) }
}

func withWire(w *wire) func(*settings) {
	return func(s *settings) { s.wire = w }
}

func withManager(edit func(*manager.Options)) func(*settings) {
	return func(s *settings) { edit(&s.manager) }
}

// freeAddress is a local address that nothing listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// wire is an operator's connection to the API server. It writes down what the
// operator asks for. It can be cut for a namespace, which is to the objects in
// there, and to the next operator, what the death of this one's process is.
type wire struct {
	next http.RoundTripper

	mu       sync.Mutex
	requests []request
	answered *sync.Cond
	cuts     map[string]*cut
}

// request is one that the operator made. The status is zero until it is
// answered, and lost if it never is.
type request struct {
	method string
	path   string
	status int
}

const lost = -1

func (r request) String() string { return fmt.Sprintf("%s %s: %d", r.method, r.path, r.status) }

func (r request) isWrite() bool { return r.method != http.MethodGet }

// isEvent says that the request is on an event. Those are emitted in the
// background, so that their place among the others is not always the same.
func (r request) isEvent() bool { return strings.HasSuffix(r.path, "/events") }

// cut says when a wire is cut for a namespace: at the nth write, before it
// arrives or before its answer does.
type cut struct {
	write   int
	arrives bool
}

var errCut = errors.New("the wire is cut")

func newWire() *wire {
	w := &wire{cuts: map[string]*cut{}}
	w.answered = sync.NewCond(&w.mu)
	return w
}

func (w *wire) over(next http.RoundTripper) http.RoundTripper {
	w.next = next
	return w
}

// RoundTrip passes a request on, unless the wire is cut.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	arrives, answered := w.judge(request{method: r.Method, path: r.URL.Path})
	if !arrives {
		return nil, errCut
	}
	// Noted before it is sent, so that whoever sees what it did finds it here.
	w.mu.Lock()
	index := len(w.requests)
	w.requests = append(w.requests, request{method: r.Method, path: r.URL.Path})
	w.mu.Unlock()
	response, err := w.next.RoundTrip(r)
	if err != nil {
		w.ends(index, lost)
		return nil, err
	}
	w.ends(index, response.StatusCode)
	if !answered {
		response.Body.Close()
		return nil, errCut
	}
	return response, nil
}

// ends writes down how a request ended.
func (w *wire) ends(index, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[index].status = status
	w.answered.Broadcast()
}

// judge says whether a request arrives, and whether its answer does.
func (w *wire) judge(r request) (arrives, answered bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for namespace, c := range w.cuts {
		if !r.in(namespace) {
			continue
		}
		if c.write == 0 {
			return false, false
		}
		if !r.isWrite() || r.isEvent() {
			return true, true
		}
		c.write--
		return c.write > 0 || c.arrives, c.write > 0
	}
	return true, true
}

// wasCut says whether the wire was cut for a namespace.
func (w *wire) wasCut(namespace string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.cuts[namespace]
	return c != nil && c.write == 0
}

func (r request) in(namespace string) bool {
	return strings.Contains(r.path+"/", "/namespaces/"+namespace+"/")
}

// inNamespace are the requests that were made in a namespace.
func (w *wire) inNamespace(namespace string) []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inNamespaceLocked(namespace)
}

func (w *wire) inNamespaceLocked(namespace string) []request {
	return slices.DeleteFunc(slices.Clone(w.requests), func(r request) bool { return !r.in(namespace) })
}

// writes are the requests that were made in a namespace to change something,
// at a moment in which each of them is answered.
func (w *wire) writes(namespace string) []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		writes := slices.DeleteFunc(w.inNamespaceLocked(namespace), func(r request) bool { return !r.isWrite() })
		if !slices.ContainsFunc(writes, func(r request) bool { return r.status == 0 }) {
			return writes
		}
		w.answered.Wait()
	}
}

// awaitLookup waits until the operator has looked for a Workflow and found
// that it is gone.
func (op *operator) awaitLookup(t *testing.T, namespace, workflow string) {
	t.Helper()
	op.awaitRequest(t, func(r request) bool {
		return r.in(namespace) && r.method == http.MethodGet && r.status == http.StatusNotFound && strings.HasSuffix(r.path, "/workflows/"+workflow)
	}, "to look for Workflow "+workflow)
}

// awaitRequest waits until the operator has made such a request.
func (op *operator) awaitRequest(t *testing.T, like func(request) bool, why string) {
	t.Helper()
	require.Eventually(t, func() bool {
		op.wire.mu.Lock()
		defer op.wire.mu.Unlock()
		return slices.ContainsFunc(op.wire.requests, like)
	}, deadline, tick, "the operator made no request %s", why)
}

// words are the writes in a namespace, in words: what was done to which kind
// of object. Those that came too late, by a cache that did not know the last
// write yet, were refused for that and wrote nothing; whether one did is known
// when it is answered.
func (w *wire) words(namespace string) []string {
	return inWords(namespace, slices.DeleteFunc(w.writes(namespace), func(r request) bool { return r.status == http.StatusConflict }))
}

func inWords(namespace string, writes []request) []string {
	var words []string
	for _, r := range writes {
		_, resource, _ := strings.Cut(r.path, "/namespaces/"+namespace+"/")
		parts := strings.Split(resource, "/")
		word := strings.ToLower(r.method) + " " + parts[0]
		if len(parts) == 3 {
			word += "/" + parts[2]
		}
		words = append(words, word)
	}
	return words
}

// changes are the words for all writes but events, which are emitted in the
// background.
func (w *wire) changes(namespace string) []string {
	return slices.DeleteFunc(w.words(namespace), func(word string) bool { return word == "post events" })
}
