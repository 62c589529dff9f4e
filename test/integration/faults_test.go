package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// faults are what goes wrong between one operator and the API server. Without any, they
// pass requests on.
type faults struct {
	next http.RoundTripper

	mu sync.Mutex
	// answer returns the response to a request that does not reach the API server, or
	// nil for one that does.
	answer func(*http.Request) *http.Response
	// delay is how long requests take in addition.
	delay time.Duration
	// away is true while no request reaches the API server.
	away bool
	// expired are the watches that have not yet been answered 410 Gone.
	expired map[string]bool
	// watches are the open watches.
	watches map[*watchBody]bool
	// holds are the requests of which the first is held until resume.
	holds []func(request) bool
	// held receives an element for each request that is held.
	held chan struct{}
	// frozen holds every request until resume.
	frozen bool
	// resumed is closed by resume.
	resumed chan struct{}
}

func newFaults() *faults {
	return &faults{expired: map[string]bool{}, watches: map[*watchBody]bool{}, held: make(chan struct{}, 16), resumed: make(chan struct{})}
}

func (f *faults) wrap(next http.RoundTripper) http.RoundTripper {
	f.next = next
	return f
}

// RoundTrip passes a request on, or does what is wrong with it.
func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.pauses(r) {
		// A process that does not run notices no deadline.
		<-f.resumed
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	if resp, err := f.refusal(r); resp != nil || err != nil {
		return resp, err
	}
	if err := f.wait(r); err != nil {
		return nil, err
	}
	resp, err := f.next.RoundTrip(r)
	if err == nil && isWatch(r) {
		f.open(resp)
	}
	return resp, err
}

// pauses reports whether a request waits for resume.
func (f *faults) pauses(r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, matches := range f.holds {
		if matches(request{method: r.Method, path: r.URL.Path}) {
			f.holds = append(f.holds[:i:i], f.holds[i+1:]...)
			f.held <- struct{}{}
			return true
		}
	}
	return f.frozen
}

// refusal returns the response or the error of a request that does not reach the API
// server.
func (f *faults) refusal(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.away:
		return nil, errDisconnected
	case isWatch(r) && f.expired[r.URL.Path]:
		delete(f.expired, r.URL.Path)
		return statusResponse(r, http.StatusGone, metav1.StatusReasonExpired), nil
	case f.answer != nil:
		return f.answer(r), nil
	}
	return nil, nil
}

// wait waits as long as requests take in addition.
func (f *faults) wait(r *http.Request) error {
	f.mu.Lock()
	delay := f.delay
	f.mu.Unlock()
	if delay == 0 || isWatch(r) {
		return nil
	}
	select {
	case <-time.After(delay):
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// hold holds the first request that matches.
func (f *faults) hold(matches func(request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds = append(f.holds, matches)
}

// awaitHeld waits until this many requests are held.
func (f *faults) awaitHeld(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-f.held:
		case <-time.After(deadline):
			require.Fail(t, "requests are missing", "%d of %d are held", i, n)
		}
	}
}

// freeze holds all requests from now on, as if the process had been stopped.
func (f *faults) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = true
}

// resume lets go what is held.
func (f *faults) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = false
	close(f.resumed)
}

// setAway disconnects the operator from the API server, or connects it again.
func (f *faults) setAway(away bool) {
	f.mu.Lock()
	f.away = away
	f.mu.Unlock()
	if away {
		f.closeWatches()
	}
}

// expireWatches ends all watches, and refuses the next one of each kind: the API server
// no longer knows the version from which it would continue.
func (f *faults) expireWatches() {
	f.mu.Lock()
	for body := range f.watches {
		f.expired[body.path] = true
	}
	f.mu.Unlock()
	f.closeWatches()
}

// pendingExpirations returns how many watches have not yet been answered 410 Gone.
func (f *faults) pendingExpirations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.expired)
}

func (f *faults) closeWatches() {
	f.mu.Lock()
	open := f.watches
	f.watches = map[*watchBody]bool{}
	f.mu.Unlock()
	for body := range open {
		_ = body.ReadCloser.Close()
	}
}

func (f *faults) open(resp *http.Response) {
	body := &watchBody{ReadCloser: resp.Body, faults: f, path: resp.Request.URL.Path}
	resp.Body = body
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches[body] = true
}

// watchBody is the body of an open watch.
type watchBody struct {
	io.ReadCloser
	faults *faults
	path   string
}

func (b *watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, context.Canceled) {
		err = io.EOF // As when the server ends the watch.
	}
	return n, err
}

func (b *watchBody) Close() error {
	b.faults.mu.Lock()
	delete(b.faults.watches, b)
	b.faults.mu.Unlock()
	return b.ReadCloser.Close()
}

func isWatch(r *http.Request) bool { return r.URL.Query().Has("watch") }

// statusResponse returns an error as the API server answers with it.
func statusResponse(r *http.Request, code int, reason metav1.StatusReason) *http.Response {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: "a fault of the test",
	}
	raw, err := json.Marshal(status)
	if err != nil {
		panic(err)
	}
	resp := &http.Response{
		Status: strconv.Itoa(code) + " " + http.StatusText(code), StatusCode: code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(raw)), ContentLength: int64(len(raw)),
	}
	if code == http.StatusTooManyRequests {
		resp.Header.Set("Retry-After", "1")
	}
	return resp
}
