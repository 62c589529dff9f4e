package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Respond responds to every request with a status code.
func Respond(code int) Behavior {
	return Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	})
}

// RespondTo responds to requests of one method with a status code.
func RespondTo(method string, code int) Behavior {
	return Instead(func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == method && respond(w, code)
	})
}

// ReadOnly lets everyone pull and responds to all other requests with a status code.
func ReadOnly(code int) Behavior {
	return Instead(func(w http.ResponseWriter, r *http.Request) bool { return !IsRead(r) && respond(w, code) })
}

func respond(w http.ResponseWriter, code int) bool {
	w.WriteHeader(code)
	return true
}

// LimitBody rejects bodies that are longer than size. It reads all of a body,
// as proxies do for a while, so that the client does not find the connection
// cut instead.
func LimitBody(size int64, code int) Behavior {
	return Instead(func(w http.ResponseWriter, r *http.Request) bool {
		begin, err := io.ReadAll(io.LimitReader(r.Body, size+1))
		if err == nil && int64(len(begin)) > size {
			_, _ = io.Copy(io.Discard, r.Body)
			return respond(w, code)
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin), r.Body))
		return false
	})
}

// LimitContentLength rejects a request by its Content-Length, before the body arrives.
func LimitContentLength(size int64, code int) Behavior {
	return Instead(func(w http.ResponseWriter, r *http.Request) bool {
		return r.ContentLength > size && respond(w, code)
	})
}

// LimitTotal has space for so many bytes of blobs and responds with 507 after that.
func LimitTotal(bytes int64) Behavior {
	var received atomic.Int64
	return func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPatch {
				registry.ServeHTTP(w, r)
				return
			}
			length := max(r.ContentLength, 0)
			if received.Add(length) <= bytes && length > 0 {
				registry.ServeHTTP(w, r)
				return
			}
			// The length is known at the end of the body, or was too large.
			LimitBody(bytes-(received.Load()-length), http.StatusInsufficientStorage)(registry).ServeHTTP(w, r)
		})
	}
}

// CloseUploads closes the connection of every upload once it has begun.
func CloseUploads(registry http.Handler) http.Handler {
	return Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if IsUpload(r) && r.Method != http.MethodPost {
			panic(http.ErrAbortHandler)
		}
		return false
	})(registry)
}

// LoseTag lets a manifest be pushed under a tag that begins with v, and responds
// afterwards as if it had never been.
func LoseTag() Behavior {
	var pushed atomic.Bool
	return Instead(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !strings.HasPrefix(Tag(r), "v"):
			return false
		case r.Method == http.MethodPut:
			pushed.Store(true)
			return false
		default:
			return pushed.Load() && respond(w, http.StatusNotFound)
		}
	})
}

// Slow lets so many bytes of a request's body through in a second.
func Slow(bytesPerSecond int64) Behavior {
	return Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		Observe(r, func(n int) {
			timer := time.NewTimer(time.Duration(n) * time.Second / time.Duration(bytesPerSecond))
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			}
		})
		return false
	})
}

// Delay delays every request.
func Delay(delay time.Duration) Behavior {
	return Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
		return false
	})
}

// Observe calls a function for each part of a request's body that is read.
func Observe(r *http.Request, read func(n int)) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{observer{r.Body, read}, r.Body}
}

type observer struct {
	io.Reader
	read func(n int)
}

func (o observer) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if n > 0 {
		o.read(n)
	}
	return n, err
}

// Cut closes the connection of a request after so many bytes of its body, if the
// function says so and the body is longer. The registry has received these bytes.
func Cut(bytes int64, which func(r *http.Request) bool) Behavior {
	return func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(r.Context())
			begin := &cutter{Reader: r.Body, left: bytes, which: func() bool { return which(r) }}
			r.Body = struct {
				io.Reader
				io.Closer
			}{begin, r.Body}
			registry.ServeHTTP(&editor{ResponseWriter: w, edit: func(code int) int {
				if begin.wasCut {
					panic(http.ErrAbortHandler)
				}
				return code
			}}, r)
		})
	}
}

// cutter is a body that may end early.
type cutter struct {
	io.Reader
	left   int64
	which  func() bool
	wasCut bool
}

func (c *cutter) Read(p []byte) (int, error) {
	if c.wasCut {
		return 0, io.ErrUnexpectedEOF
	}
	if c.left > 0 {
		p = p[:min(int64(len(p)), c.left)]
	}
	n, err := c.Reader.Read(p)
	if c.left <= 0 && n > 0 && c.which() {
		c.wasCut = true
		return 0, io.ErrUnexpectedEOF
	}
	c.left -= int64(n)
	return n, err
}
