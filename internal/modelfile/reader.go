package modelfile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// minRead is the size of a read in bytes, unless it continues the one before: then
	// it is readGrowth times as large as that, up to maxRead. Over an object store each
	// read is a request, and ten are enough for a header of 50 MB.
	minRead    = 64 << 10
	maxRead    = 8 << 20
	readGrowth = 4
	// maxReads is after how many reads a check ends that can do without the rest.
	maxReads = 10
	// maxValues is how many values of a file are read. The largest vocabularies have
	// less than a million words; a file with more values than this is not supported,
	// so that no file can keep a build busy.
	maxValues = 16 << 20
)

// errShrunk is returned for a file that has become shorter since it was listed.
var errShrunk = fmt.Errorf("the file has become shorter: %w", io.ErrUnexpectedEOF)

// reader reads the values of a file one after the other, and skips what is between
// them without reading it.
type reader struct {
	ctx    context.Context
	file   io.ReaderAt
	size   int64
	offset int64
	order  binary.ByteOrder
	values int
	// window is what the last read returned, of the file from start.
	window []byte
	start  int64
	// length is the size of the last read, and reads is how many there were.
	length, reads int
	// failed is the error of the last read.
	failed error
	word   [8]byte
}

func newReader(ctx context.Context, file io.ReaderAt, size int64) *reader {
	return &reader{ctx: ctx, file: file, size: size, order: binary.LittleEndian}
}

// remaining returns how many bytes are left to read.
func (r *reader) remaining() int64 { return r.size - r.offset }

// seek sets the offset, which must be within the file.
func (r *reader) seek(offset int64) { r.offset = offset }

// skip skips n bytes.
func (r *reader) skip(n uint64) error {
	if n > uint64(r.remaining()) {
		return errTruncated
	}
	r.offset += int64(n)
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.remaining() <= 0 {
		return 0, io.EOF
	}
	if r.offset < r.start || r.offset >= r.start+int64(len(r.window)) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.window[r.offset-r.start:])
	r.offset += int64(n)
	return n, nil
}

// fill reads what follows the offset.
func (r *reader) fill() error {
	r.failed = r.readWindow()
	return r.failed
}

func (r *reader) readWindow() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	gap := r.offset - r.start - int64(len(r.window))
	if r.reads > 0 && gap >= 0 && gap < minRead {
		r.length = min(readGrowth*r.length, maxRead)
	} else {
		r.length = minRead
	}
	length := int(min(int64(r.length), r.remaining()))
	if cap(r.window) < length {
		r.window = make([]byte, length)
	}
	r.window, r.start = r.window[:length], r.offset
	r.reads++
	n, err := r.file.ReadAt(r.window, r.offset)
	if n == length {
		return nil
	}
	r.window = r.window[:0]
	if err == nil || errors.Is(err, io.EOF) {
		return errShrunk
	}
	return err
}

// bytes reads n bytes. Up to eight bytes are valid only until the next read.
func (r *reader) bytes(n int) ([]byte, error) {
	if r.values++; r.values > maxValues {
		return nil, errUnsupported
	}
	if int64(n) > r.remaining() {
		return nil, errTruncated
	}
	p := r.word[:]
	if n > len(p) {
		p = make([]byte, n)
	}
	if _, err := io.ReadFull(r, p[:n]); err != nil {
		return nil, err
	}
	return p[:n], nil
}

func (r *reader) uint16() (uint16, error) {
	word, err := r.bytes(2)
	if err != nil {
		return 0, err
	}
	return r.order.Uint16(word), nil
}

func (r *reader) uint32() (uint32, error) {
	word, err := r.bytes(4)
	if err != nil {
		return 0, err
	}
	return r.order.Uint32(word), nil
}

func (r *reader) uint64() (uint64, error) {
	word, err := r.bytes(8)
	if err != nil {
		return 0, err
	}
	return r.order.Uint64(word), nil
}

// startsWith reports whether the file starts with a text.
func (r *reader) startsWith(text string) (bool, error) {
	r.seek(0)
	if r.size < int64(len(text)) {
		return false, nil
	}
	start, err := r.bytes(len(text))
	return string(start) == text, err
}

// checkStart checks that a file does not start with eight zeros, as one does that was
// allocated and not written yet. It leaves the offset at the start.
func (r *reader) checkStart() error {
	zeros, err := r.startsWith("\x00\x00\x00\x00\x00\x00\x00\x00")
	if err != nil {
		return err
	}
	if zeros {
		return defect("is corrupted: it starts with zeros")
	}
	r.seek(0)
	return nil
}
