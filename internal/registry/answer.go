package registry

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// canGoOn says whether an upload that has failed so may go on from where it is.
func (u *upload) canGoOn(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return badCertificate(err) == ""
	}
	switch code := answer.StatusCode; code {
	case http.StatusRequestEntityTooLarge:
		return u.length > smallestChunk
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest:
		// A login that has run out, an upload that was forgotten or that is
		// somewhere else than it was thought to be.
		return u.location != ""
	default:
		return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError && code != http.StatusInsufficientStorage
	}
}

// isTooLarge says that a request was longer than the registry, or a proxy in
// front of it, takes.
func isTooLarge(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusRequestEntityTooLarge
}

// refused says that the registry has answered, and not with what was asked for.
func refused(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode >= http.StatusBadRequest && answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests
}

// arrivedOf is how many bytes of an upload have arrived by what the registry
// says: "0-N" for N+1 bytes, and "0-0" for none.
func arrivedOf(answer *http.Response) int64 {
	_, last, _ := strings.Cut(answer.Header.Get("Range"), "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil || end <= 0 {
		return 0
	}
	return end + 1
}

// retryAfter is how long the registry asks to wait, or 0.
func retryAfter(answer *http.Response) time.Duration {
	after := answer.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// busyError says that the registry wants to be left alone for a while.
type busyError struct {
	error
	retryAfter time.Duration
}

func (e busyError) Unwrap() error { return e.error }
