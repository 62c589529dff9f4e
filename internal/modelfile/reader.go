package modelfile

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
)

const (
	// bufferSize is how much is read at a time. Most of what follows a value
	// is skipped.
	bufferSize = 16 << 10
	// maxValues is how many values of a file are looked at. The largest
	// vocabularies have less than a million of words; a file with more than
	// this is not understood, so that none keeps a build busy.
	maxValues = 16 << 20
	// contextEvery is after how many values the context is looked at.
	contextEvery = 1 << 16
)

// reader reads a file's values one after the other and skips what lies between
// them without reading it.
type reader struct {
	ctx    context.Context
	file   io.ReaderAt
	size   int64
	at     int64
	order  binary.ByteOrder
	values int
	buffer *bufio.Reader
	word   [8]byte
}

func newReader(ctx context.Context, file io.ReaderAt, size int64) *reader {
	return &reader{
		ctx: ctx, file: file, size: size, order: binary.LittleEndian,
		buffer: bufio.NewReaderSize(io.NewSectionReader(file, 0, size), bufferSize),
	}
}

// again returns a reader at the file's beginning.
func (r *reader) again() *reader { return newReader(r.ctx, r.file, r.size) }

// left is how many bytes are left to read.
func (r *reader) left() int64 { return r.size - r.at }

// seek goes to a place of the file, which must be within it.
func (r *reader) seek(to int64) {
	if ahead := to - r.at; ahead >= 0 && ahead <= int64(r.buffer.Buffered()) {
		// What is in the buffer can be discarded.
		_, _ = r.buffer.Discard(int(ahead))
	} else {
		r.buffer.Reset(io.NewSectionReader(r.file, to, r.size-to))
	}
	r.at = to
}

// skip skips n bytes.
func (r *reader) skip(n uint64) error {
	if n > uint64(r.left()) {
		return errEnds
	}
	r.seek(r.at + int64(n))
	return nil
}

// bytes reads a few bytes. Those of up to eight are valid until the next read.
func (r *reader) bytes(n int) ([]byte, error) {
	if r.values++; r.values > maxValues {
		return nil, errNotUnderstood
	}
	if r.values%contextEvery == 0 && r.ctx.Err() != nil {
		return nil, r.ctx.Err()
	}
	if int64(n) > r.left() {
		return nil, errEnds
	}
	into := r.word[:]
	if n > len(into) {
		into = make([]byte, n)
	}
	if _, err := io.ReadFull(r.buffer, into[:n]); err != nil {
		if err == io.EOF {
			// The file is shorter than it was when it was listed.
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.at += int64(n)
	return into[:n], nil
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
