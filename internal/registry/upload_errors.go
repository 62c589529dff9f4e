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

// next is what an upload does after a failure.
type next int

const (
	// giveUp means that no request would be accepted.
	giveUp next = iota
	// retryNow means that the next request differs from the failed one. It happens a
	// limited number of times.
	retryNow
	// retryLater means that the same request may be accepted later.
	retryLater
)

// after returns what to do after a failure, and adapts the next request to it.
func (u *upload) after(err error) next {
	var content contentError
	switch {
	case errors.As(err, &content):
		// What the registry has is not what was sent: part of a request arrived twice,
		// or was lost.
		if u.restarts++; u.restarts > maxRestarts {
			return giveUp
		}
		return retryLater
	case u.committing >= 0:
		return u.afterCommit(err)
	case u.isTooLarge(err):
		if !u.limits.lower(u.failedLength(), 1) {
			return giveUp
		}
		if u.last.first {
			// What the registry has kept of the request is of no use.
			u.location = ""
		}
		return retryNow
	case u.isNotResumable(err) && u.limits.sendWhole():
		return retryNow
	case !u.canResume(err):
		return giveUp
	}
	if u.last.failed && isInterruption(err) {
		// One lost connection is an accident. After several, something on the way limits
		// the length or the duration of a request.
		if u.interruptions++; u.interruptions > 1 {
			u.limits.lower(u.failedLength(), 2)
		}
	}
	return retryLater
}

// failedLength returns the length of the last request with content.
func (u *upload) failedLength() int64 {
	if size := u.blob.Size(); size >= 0 {
		return min(u.last.length, size-u.last.start)
	}
	if u.last.length == unlimited {
		return max(u.last.end-u.last.start, maxSmallRequest+1)
	}
	return u.last.length
}

// isInterruption reports whether a request ended before the registry responded to it.
func isInterruption(err error) bool {
	var busy retryAfterError
	code := statusOf(err)
	return !errors.As(err, &busy) && !errors.Is(err, errBodySent) && (code == 0 || code == http.StatusRequestTimeout || code >= http.StatusInternalServerError)
}

// afterCommit returns what to do after the last request of a session failed.
func (u *upload) afterCommit(err error) next {
	if u.committing >= commitTimeout || !u.isProcessing() && u.committing > initialBackoff<<2 {
		// Neither the session nor the blob exists.
		u.committing, u.location = -1, ""
		if u.restarts++; u.restarts > maxRestarts {
			return giveUp
		}
		return retryLater
	}
	if !u.canResume(err) {
		return giveUp
	}
	if isGatewayTimeout(err) {
		u.processing = true
	}
	return retryLater
}

// isProcessing reports whether the registry may still be reading the blob, since only
// a gateway has responded to the last request of the session.
func (u *upload) isProcessing() bool { return u.committing >= 0 && u.processing }

// isGatewayTimeout reports whether a gateway did not wait for the registry. With 502
// or 503, there is no registry that still works on the request: it is restarted.
func isGatewayTimeout(err error) bool {
	code := statusOf(err)
	return code == http.StatusGatewayTimeout || code == statusOriginTimeout
}

// statusOriginTimeout is what Cloudflare responds if the origin does not respond
// (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/error-524/).
const statusOriginTimeout = 524

// canResume reports whether an upload that failed with this error can be resumed.
func (u *upload) canResume(err error) bool {
	var problem *identity.Error
	if errors.As(err, &problem) {
		return problem.Transient
	}
	switch code := statusOf(err); code {
	case 0:
		return certificateProblem(err) == "" && !errors.Is(err, errPlainHTTP) && !errors.Is(err, errRedirectLoop)
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest:
		// The login has expired, the session was lost, or its offset is not the
		// expected one.
		return u.location != ""
	default:
		return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError && code != http.StatusInsufficientStorage
	}
}

// isTooLarge reports whether a request was larger than the registry, or a proxy in
// front of it, accepts. GitHub's registry says so with 416, which otherwise means that
// the offset is wrong: that of a session's first request cannot be.
func (u *upload) isTooLarge(err error) bool {
	switch statusOf(err) {
	case http.StatusRequestEntityTooLarge:
		return true
	case http.StatusRequestedRangeNotSatisfiable:
		return u.last.failed && (u.last.first || speaksOfSize(err))
	case http.StatusBadRequest, http.StatusForbidden, http.StatusInternalServerError, http.StatusBadGateway:
		return u.last.failed && speaksOfSize(err)
	default:
		return false
	}
}

// isNotResumable reports whether the registry refused a request that was not the first
// of its session and started where the session is: it accepts one request for each
// upload only, as Google's Artifact Registry does.
func (u *upload) isNotResumable(err error) bool {
	switch statusOf(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return u.last.failed && !u.last.first
	default:
		return false
	}
}

// contentError is the error of a registry that rejects the digest of an upload.
type contentError struct{ error }

func (e contentError) Unwrap() error { return e.error }

// isContentRejected reports whether the registry rejected the end of an upload,
// because of its content or because the session no longer exists.
func isContentRejected(err error) bool {
	switch statusOf(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity:
		return !speaksOfSize(err) && !speaksOfQuota(err)
	default:
		return false
	}
}

// statusOf returns the status code of a response, or 0 if there was none.
func statusOf(err error) int {
	var resp *transport.Error
	if errors.As(err, &resp) {
		return resp.StatusCode
	}
	return 0
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
