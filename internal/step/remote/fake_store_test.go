package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// fakeStore is a store with one file.
type fakeStore struct {
	content []byte
	// before is called before each request is answered, with its number from 1 on and its
	// offset; its error is the answer.
	before func(ctx context.Context, number int, offset int64) error
	// cut is how many bytes of a request arrive before the connection is cut; 0 is all.
	cut int64

	mu     sync.Mutex
	ranges []string
	open   int
	// mostOpen is how many requests were answered at once.
	mostOpen int
}

func (s *fakeStore) list(_ context.Context, add func(object) error) error {
	return add(object{path: "model.bin", size: int64(len(s.content)), modTime: noTime})
}

func (s *fakeStore) get(ctx context.Context, _ layer.Entry, offset, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.ranges = append(s.ranges, fmt.Sprintf("%d+%d", offset, length))
	number := len(s.ranges)
	s.open++
	s.mostOpen = max(s.mostOpen, s.open)
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(ctx, number, offset); err != nil {
			s.close()
			return nil, err
		}
	}
	content := s.content[offset : offset+length]
	if s.cut > 0 && length > s.cut {
		content = content[:s.cut]
	}
	return &fakeResponse{Reader: bytes.NewReader(content), store: s}, nil
}

func (s *fakeStore) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

func (s *fakeStore) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.ranges...)
}

type fakeResponse struct {
	io.Reader
	store *fakeStore
}

func (r *fakeResponse) Close() error {
	r.store.close()
	return nil
}

// files returns the files of the store.
func (s *fakeStore) files() *files {
	return newFiles(s, &server{name: "the store", secrets: func() []string { return nil }}, &http.Transport{}, noDelay)
}

// noDelay has requests that fail sent again at once.
const noDelay = time.Microsecond

// entry returns the only file as planned, with an identity.
func (s *fakeStore) entry(identity string) layer.Entry {
	return layer.Entry{Path: "model.bin", Type: layer.File, Size: int64(len(s.content)), Identity: identity}
}

// random returns bytes that are the same in each run.
func random(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	return content
}

// planOf returns the plan for the files.
func planOf(t *testing.T, f source.Files) layer.Plan {
	t.Helper()
	listed, err := f.List(t.Context())
	require.NoError(t, err)
	plan, err := layer.NewPlan(listed)
	require.NoError(t, err)
	return plan
}

// entryOf returns a planned file.
func entryOf(t *testing.T, plan layer.Plan, name string) layer.Entry {
	t.Helper()
	for _, entry := range plan.Entries() {
		if entry.Path == name {
			return entry
		}
	}
	require.Fail(t, "not planned: "+name)
	return layer.Entry{}
}

// read reads a planned file from an offset on.
func read(t *testing.T, f source.Files, planned layer.Entry, offset int64) ([]byte, error) {
	t.Helper()
	opened, err := f.Open(t.Context(), planned, offset)
	require.NoError(t, err)
	content, err := io.ReadAll(opened)
	require.NoError(t, opened.Close())
	return content, err
}

func assertFailure(t *testing.T, reason string, transient bool, says string, err error) {
	t.Helper()
	require.Error(t, err)
	var f *failure.Error
	require.ErrorAs(t, err, &f)
	assert.Equal(t, reason, f.Reason, f.Message)
	assert.Equal(t, transient, f.Transient, f.Message)
	assert.Contains(t, f.Message, says)
}
