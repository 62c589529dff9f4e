package registry

import (
	"errors"
	"hash"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// chunk is the body of one request of an upload.
type chunk struct {
	from     io.Reader
	digest   hash.Hash
	progress func(int64)
	// start is the chunk's offset in the blob, and offset is that of the next byte.
	start, offset int64
	// err is the error of reading the blob, if any, and eof is true once the reader
	// has returned io.EOF.
	err    error
	eof    bool
	sent   atomic.Bool
	close  sync.Once
	closed chan struct{}
}

func (c *chunk) Read(p []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, errBodySent
	default:
	}
	n, err := c.from.Read(p)
	c.digest.Write(p[:n])
	c.offset += int64(n)
	c.progress(c.offset)
	switch {
	case errors.Is(err, io.EOF):
		c.eof = true
	case err != nil:
		c.err = err
	}
	return n, err
}

// isComplete reports whether all of the chunk was read: its length, or if the
// blob's size is unknown, up to the blob's end.
func (c *chunk) isComplete(length int64, sizeKnown bool) bool {
	return c.offset-c.start == length || !sizeKnown && c.eof
}

func (c *chunk) Close() error {
	c.close.Do(func() { close(c.closed) })
	return nil
}

// errBodySent is returned for a request whose body was sent before. Its reader is
// somewhere in the middle, and the registry would store other bytes than were meant.
var errBodySent = errors.New("the body of the request was sent before")

// sendOnce is a transport that sends the body of an upload once.
// go-containerregistry's repeats a request with the same body when a login expires.
type sendOnce struct{ inner http.RoundTripper }

func (t sendOnce) RoundTrip(req *http.Request) (*http.Response, error) {
	if body, ok := req.Body.(*chunk); ok && body.sent.Swap(true) {
		return nil, errBodySent
	}
	return t.inner.RoundTrip(req)
}

// errPartialRead is returned if the registry responds before it has read all of a
// request.
var errPartialRead = errors.New("the registry did not read all of a request")

// readError is an error of reading the blob.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }
