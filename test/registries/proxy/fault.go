package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// Fault responds to a request in the registry's place and reports whether it
// did. It may also change the request.
type Fault func(w http.ResponseWriter, r *http.Request) (handled bool)

// None lets every request through.
func None(http.ResponseWriter, *http.Request) bool { return false }

// Respond responds to every request with a status code.
func Respond(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

// RespondTo responds to requests of one method with a status code.
func RespondTo(method string, code int) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == method && Respond(code)(w, r)
	}
}

// ReadOnly lets everyone pull and responds to all other requests with a status code.
func ReadOnly(code int) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		return Respond(code)(w, r)
	}
}

// LimitBody rejects bodies that are longer than size. It reads all of a body,
// as proxies do for a while, so that the client does not find the connection
// cut instead.
func LimitBody(size int64, code int) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		begin, err := io.ReadAll(io.LimitReader(r.Body, size+1))
		if err == nil && int64(len(begin)) > size {
			_, _ = io.Copy(io.Discard, r.Body)
			return Respond(code)(w, r)
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin), r.Body))
		return false
	}
}

// LimitContentLength rejects a request by its Content-Length, before the body arrives.
func LimitContentLength(size int64, code int) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return r.ContentLength > size && Respond(code)(w, r)
	}
}

// LimitTotal has space for so many bytes of blobs and responds with 507 after that.
func LimitTotal(bytes int64) Fault {
	var received atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || received.Add(r.ContentLength) <= bytes {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		return Respond(http.StatusInsufficientStorage)(w, r)
	}
}

// CloseUploads closes the connection of every upload once it has begun.
func CloseUploads(_ http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/blobs/uploads/") || r.Method == http.MethodPost {
		return false
	}
	panic(http.ErrAbortHandler)
}

// LoseTag lets a manifest be pushed under a tag that begins with v, and responds
// afterwards as if it had never been.
func LoseTag() Fault {
	var pushed atomic.Bool
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !strings.Contains(r.URL.Path, "/manifests/v"):
			return false
		case r.Method == http.MethodPut:
			pushed.Store(true)
			return false
		default:
			return pushed.Load() && Respond(http.StatusNotFound)(w, r)
		}
	}
}

// Truncate fails the body of a request after so many bytes.
func Truncate(r *http.Request, bytes int64) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r.Body, bytes), truncated{}), r.Body}
}

type truncated struct{}

func (truncated) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
