package remote

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// The kinds of identities of files. That of an ETag is compared by the server only:
// stores compute it in several ways. That of a commit is compared by nobody.
const (
	sha256Identity = "sha256:"
	gitIdentity    = "git:"
	etagIdentity   = "etag:"
	commitIdentity = "commit:"
)

// sums compares files with the sums that their store lists. An upload that is resumed
// reads some bytes of a file again: each byte is hashed once, in order, whichever reader
// reads it first.
type sums struct {
	mu    sync.Mutex
	files map[string]*sum
}

// sum is that of one file.
type sum struct {
	mu   sync.Mutex
	hash hash.Hash
	// hashed is how many bytes of the file were hashed.
	hashed int64
}

// newHash returns the hash by which a file is identified, or nil.
func newHash(planned layer.Entry) hash.Hash {
	switch {
	case strings.HasPrefix(planned.Identity, sha256Identity):
		return sha256.New()
	case strings.HasPrefix(planned.Identity, gitIdentity):
		// Git identifies files so.
		h := sha1.New()
		// Writing to a hash cannot fail.
		_, _ = fmt.Fprintf(h, "blob %d\x00", planned.Size)
		return h
	default:
		return nil
	}
}

// begin notes that a file is read.
func (s *sums) begin(planned layer.Entry) {
	h := newHash(planned)
	if h == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]*sum{}
	}
	if s.files[planned.Path] == nil {
		s.files[planned.Path] = &sum{hash: h}
	}
}

func (s *sums) of(planned layer.Entry) *sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[planned.Path]
}

func (s *sums) forget(planned layer.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, planned.Path)
}

// add notes what was read of a file at an offset.
func (s *sums) add(planned layer.Entry, offset int64, content []byte) {
	if sum := s.of(planned); sum != nil {
		sum.add(offset, content)
	}
}

// check returns a failure if all of a file was read, and is not what the store listed.
func (s *sums) check(planned layer.Entry) error {
	sum := s.of(planned)
	if sum == nil || !sum.isComplete(planned.Size) {
		return nil
	}
	s.forget(planned)
	_, want, _ := strings.Cut(planned.Identity, ":")
	if got := sum.hex(); got != want {
		return failure.New(v1alpha1.ReasonSourceChanging, "%q is not the file that its store lists: its hash is %s and not %s; upload it again, or wait until nothing writes to the model, then retry", shown(planned.Path), got, want)
	}
	return nil
}

func (s *sum) add(offset int64, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.hashed - offset
	if known < 0 || known >= int64(len(content)) {
		return
	}
	// Writing to a hash cannot fail.
	_, _ = s.hash.Write(content[known:])
	s.hashed = offset + int64(len(content))
}

func (s *sum) isComplete(size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hashed == size
}

func (s *sum) hex() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return hex.EncodeToString(s.hash.Sum(nil))
}
