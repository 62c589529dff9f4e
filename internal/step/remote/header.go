package remote

import (
	"context"
	"io"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// A block is what is read of a file at once. A file that is read on gets larger blocks:
// most headers are shorter than the first, and the longest have many megabytes.
const (
	minBlock = 256 << 10
	maxBlock = 4 << 20
)

// FS returns the planned files. Nothing else exists in it.
func (f *files) FS(ctx context.Context, plan layer.Plan) fs.FS {
	h := headers{ctx: ctx, files: f, entries: map[string]layer.Entry{}}
	for _, entry := range plan.Entries() {
		h.entries[entry.Path] = entry
	}
	return h
}

// headers are planned files of which a part is read.
type headers struct {
	ctx     context.Context
	files   *files
	entries map[string]layer.Entry
}

// Open opens a file. Nothing is requested before something is read.
func (h headers) Open(name string) (fs.File, error) {
	entry, planned := h.entries[name]
	switch {
	case !planned:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case entry.Type != layer.File:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return &header{headers: h, entry: entry}, nil
}

func (h headers) Stat(name string) (fs.FileInfo, error) {
	entry, planned := h.entries[name]
	if !planned {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info{entry}, nil
}

// header is a file of which a part is read.
type header struct {
	headers
	entry layer.Entry

	mu sync.Mutex
	// block is the last one that was read, and start is its offset.
	block []byte
	start int64
	// offset is where Read continues.
	offset int64
}

func (h *header) Stat() (fs.FileInfo, error) { return info{h.entry}, nil }

func (h *header) Close() error { return nil }

func (h *header) Read(p []byte) (int, error) {
	n, err := h.ReadAt(p, h.offset)
	h.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt reads from the file, with few requests if it is read in order.
func (h *header) ReadAt(p []byte, offset int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if offset < 0 {
		return 0, &fs.PathError{Op: "read", Path: h.entry.Path, Err: fs.ErrInvalid}
	}
	n := 0
	for n < len(p) {
		at := offset + int64(n)
		if at >= h.entry.Size {
			return n, io.EOF
		}
		if at < h.start || at >= h.start+int64(len(h.block)) {
			if err := h.load(at, int64(len(p)-n)); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], h.block[at-h.start:])
	}
	return n, nil
}

// load reads the block at an offset, of which so many bytes are asked for: who reads a
// long header asks for more at once.
func (h *header) load(offset, wanted int64) error {
	size := int64(minBlock)
	if len(h.block) > 0 && offset == h.start+int64(len(h.block)) {
		size = min(2*int64(len(h.block)), maxBlock)
	}
	size = min(max(size, wanted), h.entry.Size-offset)
	block := h.block[:0]
	if int64(cap(block)) < size {
		block = make([]byte, size)
	}
	block = block[:size]
	// What is in the block is lost if it is not filled.
	h.block = nil
	if err := h.files.fill(h.ctx, h.entry, offset, block); err != nil {
		return err
	}
	h.block, h.start = block, offset
	return nil
}

// info describes a planned file or directory.
type info struct{ entry layer.Entry }

func (i info) Name() string       { return path.Base(i.entry.Path) }
func (i info) Size() int64        { return i.entry.Size }
func (i info) ModTime() time.Time { return time.Unix(0, i.entry.ModTime) }
func (i info) IsDir() bool        { return i.entry.Type == layer.Dir }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	mode := i.entry.Mode.Perm()
	if i.IsDir() {
		mode |= fs.ModeDir
	}
	return mode
}
