package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// answerWithin is how long a registry may be silent, unless told otherwise.
	answerWithin = time.Minute
	// maxRedirects is how often a request may be sent on. A registry needs one
	// or two.
	maxRedirects = 5
)

// errCircle says that a request was sent on without end.
var errCircle = errors.New("too many redirects")

// silentError says that an answer began and did not go on.
type silentError struct{}

func (silentError) Error() string   { return "the answer does not go on" }
func (silentError) Timeout() bool   { return true }
func (silentError) Temporary() bool { return false }

// bounds is a transport that ends what would take for ever. The library sets
// no limit to redirects and silence, and asks some questions without a context.
type bounds struct {
	inner http.RoundTripper
	// ctx is for the requests that have none.
	ctx    context.Context
	within time.Duration
}

func bounded(ctx context.Context, inner *http.Transport, within time.Duration) bounds {
	inner.ResponseHeaderTimeout = within
	return bounds{inner: inner, ctx: ctx, within: within}
}

func (t bounds) RoundTrip(req *http.Request) (*http.Response, error) {
	redirects := 0
	for from := req; from.Response != nil; from = from.Response.Request {
		if redirects++; redirects > maxRedirects {
			return nil, errCircle
		}
	}
	ctx := req.Context()
	if ctx.Done() == nil {
		ctx = t.ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	answer, err := t.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	silence := time.AfterFunc(t.within, cancel)
	silence.Stop()
	answer.Body = &boundedBody{ReadCloser: answer.Body, silence: silence, within: t.within, cancel: cancel}
	return answer, nil
}

// boundedBody is the content of an answer that may not stop in the middle.
type boundedBody struct {
	io.ReadCloser
	silence *time.Timer
	within  time.Duration
	cancel  context.CancelFunc
	stopped bool
}

func (b *boundedBody) Read(p []byte) (int, error) {
	b.silence.Reset(b.within)
	n, err := b.ReadCloser.Read(p)
	if inTime := b.silence.Stop(); !inTime {
		b.stopped = true
	}
	if err == nil {
		return n, nil
	}
	b.cancel()
	if b.stopped && !errors.Is(err, io.EOF) {
		return n, silentError{}
	}
	return n, err
}

func (b *boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
