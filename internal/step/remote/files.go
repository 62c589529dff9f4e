package remote

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

const (
	// attempts is how often a request is sent that fails transiently, and firstDelay the
	// delay before the second attempt, which then doubles: half a minute in all.
	attempts   = 7
	firstDelay = 500 * time.Millisecond
	// maxRetryAfter is the longest delay that a server can ask for.
	maxRetryAfter = time.Minute
)

// store is where the files are.
type store interface {
	// list passes all files to add, in any order, and returns its error.
	list(ctx context.Context, add func(object) error) error
	// get returns at least length bytes of a planned file from an offset on, unless the
	// connection is cut.
	get(ctx context.Context, planned layer.Entry, offset, length int64) (io.ReadCloser, error)
}

// files are the files of a store. They can be used by several goroutines.
type files struct {
	store
	server    *server
	transport *http.Transport
	sums      sums
	// delay is how long a request that failed is delayed the first time.
	delay time.Duration
}

var _ source.Files = (*files)(nil)

func newFiles(s store, server *server, transport *http.Transport, delay time.Duration) *files {
	return &files{store: s, server: server, transport: transport, delay: cmp.Or(delay, firstDelay)}
}

// List returns the files, and their directories, which have no time. It reads the first
// byte of one file: a list may be permitted to accounts that may not read the files.
func (f *files) List(ctx context.Context) ([]layer.SourceEntry, error) {
	var found *listing
	err := f.retry(ctx, func() error {
		found = newListing()
		return f.list(ctx, found.add)
	})
	if err != nil {
		return nil, err
	}
	if sample := found.sample; sample.path != "" {
		planned := layer.Entry{Path: sample.path, Type: layer.File, Size: sample.size, ModTime: sample.modTime.UnixNano(), Identity: sample.identity}
		if err := f.fill(ctx, planned, 0, make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	return found.entries, nil
}

// CheckLink refuses any link: a store has none.
func (f *files) CheckLink(planned layer.Entry) error { return source.Changing(planned.Path) }

// Close closes the connections. All readers must be closed before.
func (f *files) Close() error {
	f.transport.CloseIdleConnections()
	return nil
}

// fill reads a part of a file, and resumes where a connection is cut.
func (f *files) fill(ctx context.Context, planned layer.Entry, offset int64, part []byte) error {
	return f.retry(ctx, func() error {
		n, err := f.read(ctx, planned, offset, part)
		offset, part = offset+int64(n), part[n:]
		return err
	})
}

// read sends one request for a part of a file. If it returns no error, it has filled
// the part.
func (f *files) read(ctx context.Context, planned layer.Entry, offset int64, part []byte) (int, error) {
	content, err := f.get(ctx, planned, offset, int64(len(part)))
	if err != nil {
		return 0, err
	}
	defer content.Close()
	n, err := io.ReadFull(content, part)
	if err != nil {
		return n, f.server.unreachable(ctx, err)
	}
	return n, nil
}

// retry repeats an action that fails transiently, after growing delays or those that
// the server asks for.
func (f *files) retry(ctx context.Context, action func() error) error {
	wait := f.delay
	for attempt := 1; ; attempt++ {
		err := action()
		if err == nil || attempt == attempts || !failure.Of(err).Transient {
			return err
		}
		var asked delayed
		if errors.As(err, &asked) {
			wait = max(wait, min(asked.after, maxRetryAfter))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

// delayed is an error after which a server asks to wait.
type delayed struct {
	error
	after time.Duration
}

func (d delayed) Unwrap() error { return d.error }
