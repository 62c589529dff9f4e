package modelfile

import (
	"encoding/binary"
	"errors"
)

// ONNX and TensorFlow store models as messages of protocol buffers: a sequence of
// fields, each of which starts with a tag, which contains its number and its wire type
// (https://protobuf.dev/programming-guides/encoding/).
const (
	wireVarint = 0
	wireI64    = 1
	wireLen    = 2
	wireSGroup = 3
	wireEGroup = 4
	wireI32    = 5

	// maxVarint is the maximum length of a varint in bytes.
	maxVarint = binary.MaxVarintLen64
)

// errNotProtobuf is returned for content that is no message.
var errNotProtobuf = errors.New("not a message of protocol buffers")

// field is one field of a message: its number, its wire type, and its value if it
// is a varint.
type field struct {
	number, wire, value uint64
	// end is the offset at which its content ends.
	end int64
}

// forEachField calls visit at the content of each field of a message that ends at
// end, and continues after that content.
func (r *reader) forEachField(end int64, visit func(f field) error) error {
	for r.offset < end {
		f, err := r.readField(end)
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		r.seek(f.end)
	}
	return nil
}

// readField reads up to a field's content, or past it if it is a varint.
func (r *reader) readField(end int64) (field, error) {
	tag, err := r.readVarint()
	if err != nil {
		return field{}, err
	}
	f := field{number: tag >> 3, wire: tag & 7}
	if f.number == 0 {
		return f, errNotProtobuf
	}
	length, err := r.readLength(&f)
	if err != nil {
		return f, err
	}
	if length > maxSize {
		return f, errNotProtobuf
	}
	f.end = r.offset + int64(length)
	switch {
	case f.end <= end:
		return f, nil
	case end == r.size:
		return f, truncated(r.size, f.end)
	default:
		return f, errNotProtobuf
	}
}

// readLength returns how many bytes of a field are left to read.
func (r *reader) readLength(f *field) (length uint64, err error) {
	switch f.wire {
	case wireVarint:
		f.value, err = r.readVarint()
		return 0, err
	case wireI64:
		return 8, nil
	case wireLen:
		return r.readVarint()
	case wireI32:
		return 4, nil
	case wireSGroup, wireEGroup:
		return 0, errUnsupported
	default:
		return 0, errNotProtobuf
	}
}

func (r *reader) readVarint() (uint64, error) {
	var value uint64
	for i := range maxVarint {
		next, err := r.bytes(1)
		if err != nil {
			return 0, err
		}
		value |= uint64(next[0]&0x7f) << (7 * i)
		if next[0] < 0x80 {
			return value, nil
		}
	}
	return 0, errNotProtobuf
}
