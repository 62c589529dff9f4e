package webhook

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/modelkiln/modelkiln/internal/text"
)

const (
	// maxHandled is how many requests are read and handled at a time. Each takes
	// milliseconds, and memory of several times its size.
	maxHandled = 16
	// maxWaiting is how many more requests wait for their turn, unread.
	maxWaiting = 512
	// maxWait is how long a request waits.
	maxWait = time.Second
	// maxBody is the maximum size of a request in bytes. etcd stores objects of up
	// to 1.5 MiB.
	maxBody = 3 << 20
	// maxValues is how many JSON values a request may have, by text.JSONValues: as many as
	// a workload of 400 KB. A pod with half as many empty containers takes 15 MB; one of
	// maxBody was measured to take 1.3 GB.
	maxValues = 20_000
	// maxTime is how long a client may take to send a request, and a webhook to respond.
	// It is the longest time for which the API server waits.
	maxTime = 10 * time.Second
)

// A Limiter bounds the memory that requests use, no matter who sends them. The health and
// readiness checks are served elsewhere.
type Limiter struct {
	admitted, handled chan struct{}
}

// NewLimiter returns a Limiter for all webhooks of a process.
func NewLimiter() *Limiter {
	return &Limiter{admitted: make(chan struct{}, maxHandled+maxWaiting), handled: make(chan struct{}, maxHandled)}
}

// Wrap returns a handler that rejects requests beyond the limits. The API server
// repeats a request that was rejected because there are too many, until its
// timeout.
func (l *Limiter) Wrap(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			http.Error(w, fmt.Sprintf("the request is larger than %d bytes", maxBody), http.StatusRequestEntityTooLarge)
			return
		}
		// The API server would send later requests over the same connection, also while this
		// replica stops, and some would be lost when it closes.
		w.Header().Set("Connection", "close")
		// The server cancels the context of its requests when it is about to stop, and waits
		// for their responses.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), maxTime)
		defer cancel()
		release, admitted := l.acquire(ctx)
		if !admitted {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many admission requests at a time: retry in a second", http.StatusTooManyRequests)
			return
		}
		defer release()
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxTime)); err != nil {
			http.Error(w, "set the deadline of the request", http.StatusInternalServerError)
			return
		}
		r.Body = &limitedJSON{ReadCloser: http.MaxBytesReader(w, r.Body, maxBody)}
		handler.ServeHTTP(w, r.WithContext(ctx))
	})
}

// limitedJSON is JSON of which a limited number of values is read.
type limitedJSON struct {
	io.ReadCloser
	counted text.JSONValues
}

func (j *limitedJSON) Read(p []byte) (int, error) {
	n, err := j.ReadCloser.Read(p)
	_, _ = j.counted.Write(p[:n]) // It cannot fail.
	if j.counted.Count > maxValues {
		return 0, fmt.Errorf("the request has more than %d fields and list items", maxValues)
	}
	return n, err
}

// acquire waits until a request may be handled, and returns what ends that. It
// returns false if there are too many.
func (l *Limiter) acquire(ctx context.Context) (release func(), admitted bool) {
	select {
	case l.admitted <- struct{}{}:
	default:
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	select {
	case l.handled <- struct{}{}:
		return func() { <-l.handled; <-l.admitted }, true
	case <-ctx.Done():
		<-l.admitted
		return nil, false
	}
}
