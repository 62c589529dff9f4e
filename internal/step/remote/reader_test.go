package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

func TestOpen(t *testing.T) {
	for _, size := range []int{0, 1, partSize - 1, partSize, partSize + 1, parallel*partSize + 5, 5 * partSize} {
		s := &fakeStore{content: random(size)}
		for _, offset := range []int{0, 1, partSize, size - 1, size} {
			if offset < 0 || offset > size {
				continue
			}
			t.Run(fmt.Sprintf("%d bytes from %d on", size, offset), func(t *testing.T) {
				got, err := read(t, s.files(), s.entry(""), int64(offset))
				require.NoError(t, err)
				assert.True(t, bytes.Equal(s.content[offset:], got))
			})
		}
		assert.LessOrEqual(t, s.mostOpen, parallel)
	}
}

func TestOpenRequestsPartsAhead(t *testing.T) {
	all := make(chan struct{})
	s := &fakeStore{content: random(8 * partSize)}
	s.before = func(ctx context.Context, number int, _ int64) error {
		if number == parallel {
			close(all)
		}
		select {
		case <-all:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	got, err := read(t, s.files(), s.entry(""), 0)
	require.NoError(t, err)
	assert.Len(t, got, 8*partSize)
	assert.Len(t, s.requests(), 8)
}

func TestOpenResumesWhereAConnectionWasCut(t *testing.T) {
	s := &fakeStore{content: random(partSize + 10), cut: partSize / 4}
	got, err := read(t, s.files(), s.entry(""), 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(s.content, got))
	want := []string{"0+2097152", "524288+1572864", "1048576+1048576", "1572864+524288", "2097152+10"}
	assert.ElementsMatch(t, want, s.requests())
}

func TestOpenRetries(t *testing.T) {
	transient := failure.New(v1alpha1.ReasonSourceUnavailable, "for a while")
	transient.Transient = true
	final := failure.New(v1alpha1.ReasonSourceMissing, "for good")
	for name, tt := range map[string]struct {
		failures int
		err      error
		want     int // requests
		ok       bool
	}{
		"a failure that ends":            {attempts - 1, transient, attempts, true},
		"a failure that a delay ends":    {1, delayed{transient, time.Millisecond}, 2, true},
		"a failure that does not end":    {attempts, transient, attempts, false},
		"a failure that is not repeated": {1, final, 1, false},
		"an error of this program":       {1, errors.New("no memory"), 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStore{content: random(10), before: func(_ context.Context, number int, _ int64) error {
				if number <= tt.failures {
					return tt.err
				}
				return nil
			}}
			_, err := read(t, s.files(), s.entry(""), 0)
			assert.Len(t, s.requests(), tt.want)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, failure.Of(tt.err), failure.Of(err))
		})
	}
}

func TestOpenGivesUpOnAServerThatAlwaysCuts(t *testing.T) {
	s := &fakeStore{content: random(partSize), cut: 1}
	_, err := read(t, s.files(), s.entry(""), 0)
	assertFailure(t, v1alpha1.ReasonSourceUnavailable, true, "the store cannot be used, connection failed: ", err)
	assert.Len(t, s.requests(), attempts)
}

func TestOpenEndsWithTheContext(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	s := &fakeStore{content: random(8 * partSize), before: func(ctx context.Context, number int, _ int64) error {
		if number == 2 {
			cancel()
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	f := s.files()
	opened, err := f.Open(ctx, s.entry(""), 0)
	require.NoError(t, err)
	_, err = io.ReadAll(opened)
	require.ErrorIs(t, err, context.Canceled)
	_, err = opened.Read(make([]byte, 1))
	require.ErrorIs(t, err, context.Canceled, "the error remains")
	require.NoError(t, opened.Close())
	assertNoGoroutines(t, before)
}

func TestOpenWithAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &fakeStore{content: random(1)}
	opened, err := s.files().Open(ctx, s.entry(""), 0)
	require.NoError(t, err)
	cancel()
	_, err = io.ReadAll(opened)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, opened.Close())
	assert.Empty(t, s.requests())
}

// A store has no links.
func TestCheckLink(t *testing.T) {
	err := (&fakeStore{}).files().CheckLink(layer.Entry{Path: "latest", Type: layer.Symlink, Link: "model.bin"})
	assertFailure(t, v1alpha1.ReasonSourceChanging, false, `"latest"`, err)
}

func TestOpenEndsADelayWithTheContext(t *testing.T) {
	transient := failure.New(v1alpha1.ReasonRateLimited, "for a while")
	transient.Transient = true
	ctx, cancel := context.WithCancel(t.Context())
	s := &fakeStore{content: random(1), before: func(context.Context, int, int64) error {
		cancel()
		return delayed{transient, time.Hour}
	}}
	opened, err := s.files().Open(ctx, s.entry(""), 0)
	require.NoError(t, err)
	_, err = io.ReadAll(opened)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, opened.Close())
}

func TestCloseEndsRequests(t *testing.T) {
	before := runtime.NumGoroutine()
	started := make(chan struct{}, parallel)
	s := &fakeStore{content: random(8 * partSize), before: func(ctx context.Context, _ int, offset int64) error {
		if offset == 0 {
			return nil
		}
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	f := s.files()
	opened, err := f.Open(t.Context(), s.entry(""), 0)
	require.NoError(t, err)
	_, err = opened.Read(make([]byte, 1))
	require.NoError(t, err)
	for range parallel - 1 {
		<-started
	}
	require.NoError(t, opened.Close())
	_, err = opened.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.NoError(t, f.Close())
	assert.Zero(t, s.open, "each response is closed")
	assertNoGoroutines(t, before)
}

// assertNoGoroutines waits until no more goroutines run than before.
func assertNoGoroutines(t *testing.T, before int) {
	t.Helper()
	// Eventually runs this function in a goroutine.
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, 5*time.Second, time.Millisecond, "goroutines remain")
}

func TestSums(t *testing.T) {
	content := random(2*partSize + 7)
	sum := sha256.Sum256(content)
	right := sha256Identity + hex.EncodeToString(sum[:])
	wrong := sha256Identity + hex.EncodeToString(make([]byte, sha256.Size))
	// Each reader reads from an offset on, up to an end.
	type reading struct{ from, to int64 }
	size := int64(len(content))
	for name, tt := range map[string]struct {
		identity string
		readings []reading
		changed  bool
	}{
		"the whole file":                      {right, []reading{{0, size}}, false},
		"another file":                        {wrong, []reading{{0, size}}, true},
		"a resumed upload":                    {right, []reading{{0, partSize + 3}, {100, size}}, false},
		"a resumed upload of another file":    {wrong, []reading{{0, partSize + 3}, {100, size}}, true},
		"an upload that began again":          {wrong, []reading{{0, 5}, {0, size}}, true},
		"again after it was compared":         {right, []reading{{0, size}, {0, size}}, false},
		"the end after it was compared":       {right, []reading{{0, size}, {7, size}}, false},
		"a part of another file":              {wrong, []reading{{0, size - 1}}, false},
		"another file from the middle on":     {wrong, []reading{{5, size}}, false},
		"another file whose hash is not kept": {etagIdentity + "abc", []reading{{0, size}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStore{content: content}
			f := s.files()
			var last error
			for _, r := range tt.readings {
				opened, err := f.Open(t.Context(), s.entry(tt.identity), r.from)
				require.NoError(t, err)
				var target io.Reader = opened
				if r.to < size {
					target = io.LimitReader(opened, r.to-r.from)
				}
				_, last = io.Copy(io.Discard, target)
				require.NoError(t, opened.Close())
			}
			if !tt.changed {
				require.NoError(t, last)
				return
			}
			assertFailure(t, v1alpha1.ReasonSourceChanging, false, `"model.bin" is not the file that its store lists`, last)
		})
	}
}

func TestSumsOfGit(t *testing.T) {
	// echo -n 'what is up, doc?' | git hash-object --stdin
	const identity = gitIdentity + "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
	s := &fakeStore{content: []byte("what is up, doc?")}
	_, err := read(t, s.files(), s.entry(identity), 0)
	require.NoError(t, err)

	s = &fakeStore{content: []byte("what is up, cat?")}
	_, err = read(t, s.files(), s.entry(identity), 0)
	assertFailure(t, v1alpha1.ReasonSourceChanging, false, "its hash is", err)
}

func TestSumsOfEmptyFile(t *testing.T) {
	s := &fakeStore{}
	_, err := read(t, s.files(), s.entry(gitIdentity+"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), 0)
	require.NoError(t, err)
	assert.Empty(t, s.requests())
}
