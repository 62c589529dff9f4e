package modelfile

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
)

const (
	// bufferSize is the size of a read. Most of what follows a value is skipped.
	bufferSize = 16 << 10
	// maxValues is how many values of a file are read. The largest vocabularies have
	// less than a million words; a file with more values than this is not supported,
	// so that no file can keep a build busy.
	maxValues = 16 << 20
	// contextInterval is the number of values between two checks of the context.
	contextInterval = 1 << 16
)

// reader reads the values of a file one after the other, and skips what is between
// them without reading it.
type reader struct {
	ctx    context.Context
	file   io.ReaderAt
	size   int64
	offset int64
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

// restart returns a new reader at the start of the file.
func (r *reader) restart() *reader { return newReader(r.ctx, r.file, r.size) }

// remaining returns how many bytes are left to read.
func (r *reader) remaining() int64 { return r.size - r.offset }

// seek sets the offset, which must be within the file.
func (r *reader) seek(offset int64) {
	if ahead := offset - r.offset; ahead >= 0 && ahead <= int64(r.buffer.Buffered()) {
		// Discarding buffered bytes cannot fail.
		_, _ = r.buffer.Discard(int(ahead))
	} else {
		r.buffer.Reset(io.NewSectionReader(r.file, offset, r.size-offset))
	}
	r.offset = offset
}

// skip skips n bytes.
func (r *reader) skip(n uint64) error {
	if n > uint64(r.remaining()) {
		return errTruncated
	}
	r.seek(r.offset + int64(n))
	return nil
}

// bytes reads n bytes. Up to eight bytes are valid only until the next read.
func (r *reader) bytes(n int) ([]byte, error) {
	if r.values++; r.values > maxValues {
		return nil, errUnsupported
	}
	if r.values%contextInterval == 0 && r.ctx.Err() != nil {
		return nil, r.ctx.Err()
	}
	if int64(n) > r.remaining() {
		return nil, errTruncated
	}
	p := r.word[:]
	if n > len(p) {
		p = make([]byte, n)
	}
	if _, err := io.ReadFull(r.buffer, p[:n]); err != nil {
		if err == io.EOF {
			// The file has become shorter since it was listed.
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.offset += int64(n)
	return p[:n], nil
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
