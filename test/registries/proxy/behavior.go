package proxy

import (
	"net/http"
	"strings"
)

// Behavior is what a proxy does to requests on their way to a registry, and to the
// responses.
type Behavior func(registry http.Handler) http.Handler

// None lets every request through.
func None(registry http.Handler) http.Handler { return registry }

// All has several behaviors; the client meets the first one first.
func All(behaviors ...Behavior) Behavior {
	return func(registry http.Handler) http.Handler {
		for i := len(behaviors) - 1; i >= 0; i-- {
			registry = behaviors[i](registry)
		}
		return registry
	}
}

// Instead responds to a request in the registry's place, if the function reports
// that it did. The function may also change the request.
func Instead(handle func(w http.ResponseWriter, r *http.Request) (handled bool)) Behavior {
	return func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The server would read another body than its own to the end, also one that
			// the client only announces.
			r = r.WithContext(r.Context())
			if !handle(w, r) {
				registry.ServeHTTP(w, r)
			}
		})
	}
}

// Edit changes the headers of responses. The function returns the status code to
// send in place of the registry's.
func Edit(edit func(r *http.Request, code int, header http.Header) int) Behavior {
	return func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			registry.ServeHTTP(&editor{ResponseWriter: w, edit: func(code int) int { return edit(r, code, w.Header()) }}, r)
		})
	}
}

type editor struct {
	http.ResponseWriter
	edit func(code int) int
	sent bool
}

func (e *editor) WriteHeader(code int) {
	if !e.sent && code >= http.StatusOK {
		e.sent = true
		code = e.edit(code)
	}
	e.ResponseWriter.WriteHeader(code)
}

func (e *editor) Write(p []byte) (int, error) {
	if !e.sent {
		e.WriteHeader(http.StatusOK)
	}
	return e.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (e *editor) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// IsUpload reports whether a request belongs to the upload of a blob.
func IsUpload(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/uploads/") }

// IsBlob reports whether a request is for a blob that was uploaded.
func IsBlob(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/blobs/") && !IsUpload(r)
}

// Repository returns the repository of a request.
func Repository(r *http.Request) string {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, kind := range []string{"/blobs/", "/manifests/", "/tags/"} {
		if repository, _, found := strings.Cut(path, kind); found {
			return repository
		}
	}
	return ""
}

// Tag returns the tag or digest whose manifest is requested, or "".
func Tag(r *http.Request) string {
	_, tag, _ := strings.Cut(r.URL.Path, "/manifests/")
	return tag
}

// IsRead reports whether a request changes nothing.
func IsRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }
