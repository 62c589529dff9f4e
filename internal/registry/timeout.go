package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// idleTimeout is how long a registry may stay silent by default.
	idleTimeout = time.Minute
	// maxRedirects is how many times a request may be redirected. A registry needs
	// one or two redirects.
	maxRedirects = 5
)

// errRedirectLoop is returned for a request that is redirected too many times.
var errRedirectLoop = errors.New("too many redirects")

// idleTimeoutError is returned for a response body that stops in the middle.
type idleTimeoutError struct{}

func (idleTimeoutError) Error() string   { return "timeout while reading the response body" }
func (idleTimeoutError) Timeout() bool   { return true }
func (idleTimeoutError) Temporary() bool { return false }

// timeoutTransport is a transport that ends requests that would never end.
// go-containerregistry limits neither redirects nor silence, and sends some
// requests without a context.
type timeoutTransport struct {
	inner http.RoundTripper
	// ctx is for requests that have no context.
	ctx  context.Context
	idle time.Duration
}

// NewTimeoutTransport returns a transport that sends requests with inner, and ends one
// whose response stays silent for the time idle, or that was redirected more than five
// times. A request without a context ends with ctx.
func NewTimeoutTransport(ctx context.Context, inner *http.Transport, idle time.Duration) http.RoundTripper {
	inner.ResponseHeaderTimeout = idle
	return timeoutTransport{inner: inner, ctx: ctx, idle: idle}
}

func (t timeoutTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	redirects := 0
	for from := req; from.Response != nil; from = from.Response.Request {
		if redirects++; redirects > maxRedirects {
			closeBody(req)
			return nil, errRedirectLoop
		}
	}
	ctx := req.Context()
	if ctx.Done() == nil {
		ctx = t.ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	resp, err := t.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	timer := time.AfterFunc(t.idle, cancel)
	timer.Stop()
	resp.Body = &timeoutBody{ReadCloser: resp.Body, timer: timer, idle: t.idle, cancel: cancel}
	return resp, nil
}

// timeoutBody is a response body of which every read has the idle timeout.
type timeoutBody struct {
	io.ReadCloser
	timer    *time.Timer
	idle     time.Duration
	cancel   context.CancelFunc
	timedOut bool
}

func (b *timeoutBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	if inTime := b.timer.Stop(); !inTime {
		b.timedOut = true
	}
	if err == nil {
		return n, nil
	}
	b.cancel()
	if b.timedOut && !errors.Is(err, io.EOF) {
		return n, idleTimeoutError{}
	}
	return n, err
}

func (b *timeoutBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
