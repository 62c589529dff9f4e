package registry

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/modelkiln/modelkiln/internal/registry/identity"
)

// canResume reports whether an upload that failed with this error can be resumed.
func (u *upload) canResume(err error) bool {
	var problem *identity.Error
	if errors.As(err, &problem) {
		return problem.Transient
	}
	var resp *transport.Error
	if !errors.As(err, &resp) {
		return certificateProblem(err) == ""
	}
	switch code := resp.StatusCode; code {
	case http.StatusRequestEntityTooLarge:
		return u.length > minChunkSize
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest:
		// The login has expired, the session was lost, or its offset is not the
		// expected one.
		return u.location != ""
	default:
		return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError && code != http.StatusInsufficientStorage
	}
}

// isTooLarge reports whether a request was larger than the registry, or a proxy in
// front of it, accepts.
func isTooLarge(err error) bool {
	var resp *transport.Error
	return errors.As(err, &resp) && resp.StatusCode == http.StatusRequestEntityTooLarge
}

// isRejected reports whether the registry rejected the request itself.
func isRejected(err error) bool {
	var resp *transport.Error
	return errors.As(err, &resp) && resp.StatusCode >= http.StatusBadRequest && resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests
}

// parseRange returns the offset of an upload session from the Range header: "0-N"
// means N+1 bytes, and "0-0" means none.
func parseRange(resp *http.Response) int64 {
	_, last, _ := strings.Cut(resp.Header.Get("Range"), "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil || end <= 0 {
		return 0
	}
	return end + 1
}

// parseRetryAfter returns how long the registry asks clients to wait, or 0.
func parseRetryAfter(resp *http.Response) time.Duration {
	after := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(after); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

// retryAfterError is an error of a registry that asks clients to wait.
type retryAfterError struct {
	error
	retryAfter time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }
