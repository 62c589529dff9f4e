package registry

import (
	"math/bits"
	"sync"
)

const (
	// minRequestSize is the smallest request to which an uploader goes down in search
	// of a limit. Some registries require 5 MiB, and return that in
	// OCI-Chunk-Min-Length.
	minRequestSize = 1 << 20
	// maxSmallRequest is the largest request after a large one was interrupted or
	// refused: it limits what the next failure costs.
	maxSmallRequest = 512 << 20
)

// requestLimits are what an uploader has learned about the requests that a registry,
// or a proxy in front of it, accepts. They hold for all further blobs.
type requestLimits struct {
	mu sync.Mutex
	// bytes is the maximum length of a request; 0 is no limit. min is the length that
	// the registry requires.
	bytes, min int64
	// whole is true if the registry accepts one request for each upload only.
	whole bool
}

// length returns the maximum length of the next request.
func (l *requestLimits) length() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole || l.bytes == 0 {
		return unlimited
	}
	return max(l.bytes, l.min)
}

func (l *requestLimits) isWhole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole
}

// atLeast sets the length that the registry requires.
func (l *requestLimits) atLeast(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.min = min(max(l.min, bytes), maxSmallRequest)
}

// lower reduces the maximum length after a request of this length failed: to the next
// power of two, divided by steps. It reports whether a smaller request can be sent.
func (l *requestLimits) lower(failed int64, steps int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole || failed <= max(minRequestSize, l.min) {
		return false
	}
	next := int64(1) << (bits.Len64(uint64(failed-1)) - 1) >> (steps - 1)
	next = max(min(next, maxSmallRequest), minRequestSize, l.min)
	if l.bytes == 0 || next < l.bytes {
		l.bytes = next
	}
	return true
}

// sendWhole notes that the registry accepts one request for each upload only. It
// reports false if the registry also limits the length of a request, or if that was
// known.
func (l *requestLimits) sendWhole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole || l.bytes > 0 {
		return false
	}
	l.whole = true
	return true
}
