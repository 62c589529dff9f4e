package remote

import (
	"context"
	"io"
	"sync"

	"github.com/modelkiln/modelkiln/internal/layer"
)

const (
	// partSize is how many bytes of a file one request asks for, and parallel is how
	// many requests a reader sends at once: a stream of one connection is slower than
	// most networks between a store and a cluster. A build sends three layers at once,
	// which hold 9 parts, or 18 MiB. A program that read three files of 1 GiB at once used
	// 58 MB in all; with parts of 4 MiB it used 80 (test/sources).
	partSize = 2 << 20
	parallel = 3
)

// buffers are used for the parts of all readers, so that a large file leaves no garbage.
var buffers = sync.Pool{New: func() any { return new([partSize]byte) }}

// Open returns a reader of a planned file.
func (f *files) Open(ctx context.Context, planned layer.Entry, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	f.sums.begin(planned)
	return &reader{ctx: ctx, cancel: cancel, files: f, planned: planned, offset: offset, next: offset}, nil
}

// reader reads a file from an offset on. It requests parts ahead of what is read.
type reader struct {
	ctx     context.Context
	cancel  context.CancelFunc
	files   *files
	planned layer.Entry
	// offset is where the next byte is read, and next is where the next part begins.
	offset, next int64
	// parts are those that are requested, in order.
	parts []*part
	// err is what the reader has ended with.
	err error
}

// part is a part of a file.
type part struct {
	buffer *[partSize]byte
	// done is closed when the part was read, or failed.
	done chan struct{}
	err  error
	// left is what of the part is left to be read.
	left []byte
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.read(p)
	r.err = err
	return n, err
}

func (r *reader) read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.offset >= r.planned.Size {
		if err := r.files.sums.check(r.planned); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	r.request()
	first := r.parts[0]
	select {
	case <-first.done:
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
	if first.err != nil {
		return 0, first.err
	}
	n := copy(p, first.left)
	r.files.sums.add(r.planned, r.offset, p[:n])
	r.offset, first.left = r.offset+int64(n), first.left[n:]
	if len(first.left) == 0 {
		buffers.Put(first.buffer)
		r.parts = r.parts[1:]
	}
	return n, nil
}

// request requests further parts.
func (r *reader) request() {
	for len(r.parts) < parallel && r.next < r.planned.Size {
		p := &part{buffer: buffers.Get().(*[partSize]byte), done: make(chan struct{})}
		p.left = p.buffer[:min(partSize, r.planned.Size-r.next)]
		offset := r.next
		go func() {
			defer close(p.done)
			p.err = r.files.fill(r.ctx, r.planned, offset, p.left)
		}()
		r.next += int64(len(p.left))
		r.parts = append(r.parts, p)
	}
}

// Close ends the requests.
func (r *reader) Close() error {
	r.cancel()
	for _, p := range r.parts {
		<-p.done
		buffers.Put(p.buffer)
	}
	r.parts = nil
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return nil
}
