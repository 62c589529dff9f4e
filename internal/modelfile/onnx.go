package modelfile

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strconv"
)

// The format is protocol buffers (https://protobuf.dev/programming-guides/encoding/)
// with the messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
// A message is a sequence of fields; each starts with a tag, which contains its
// number and its wire type.
const (
	wireVarint = 0
	wireI64    = 1
	wireLen    = 2
	wireSGroup = 3
	wireEGroup = 4
	wireI32    = 5

	// maxVarint is the maximum length of a varint in bytes.
	maxVarint = binary.MaxVarintLen64
	// maxString is the maximum length of a string that is read.
	maxString = 4096
)

// Numbers of the fields that are read, and the enum value EXTERNAL.
const (
	modelGraph         = 7
	graphInitializer   = 5
	tensorExternalData = 13
	tensorDataLocation = 14
	locationExternal   = 1
	entryKey           = 1
	entryValue         = 2
)

// modelFields maps the fields of a ModelProto to their wire types. A file that does
// not start with one of them is not an ONNX model, regardless of its name.
var modelFields = map[uint64]uint64{
	1: wireVarint, 2: wireLen, 3: wireLen, 4: wireLen, 5: wireVarint, 6: wireLen,
	modelGraph: wireLen, 8: wireLen, 14: wireLen, 20: wireLen, 25: wireLen, 26: wireLen,
}

var errONNX = defect("is corrupted: its content is not a valid ONNX model")

// checkONNX reads a model's fields and checks the data files to which its tensors
// refer. A location is "relative to the directory where the ONNX protobuf model was
// stored".
func (c *checker) checkONNX(file File, r *reader) error {
	locations, err := readONNX(r)
	if err != nil {
		return err
	}
	var missing []string
	for _, location := range slices.Sorted(maps.Keys(locations)) {
		name := resolveReference(file, location)
		if name == "" {
			continue
		}
		size, exists, err := c.stat(name)
		switch want := locations[location]; {
		case err != nil:
			return err
		case !exists:
			missing = append(missing, name)
		case size < want:
			c.problems.add("%s is truncated: it has %d bytes, but %s refers to %d", displayName(name), size, displayName(file.Path), want)
		}
	}
	if len(missing) > 0 {
		c.problems.add("%s listed in %s but missing", displayNames(missing), displayName(file.Path))
	}
	return nil
}

// readONNX returns how many bytes a model needs of each file to which its tensors
// refer.
func readONNX(r *reader) (map[string]int64, error) {
	if err := checkONNXStart(r); err != nil {
		return nil, err
	}
	locations := map[string]int64{}
	err := r.forEachField(r.size, func(f field) error {
		if f.number != modelGraph || f.wire != wireLen {
			return nil
		}
		return r.forEachField(f.end, func(f field) error {
			if f.number != graphInitializer || f.wire != wireLen {
				return nil
			}
			return r.readTensor(f.end, locations)
		})
	})
	return locations, err
}

// checkONNXStart checks that a file starts like a model. If it does not, it may be
// something else, such as an encrypted model; but a file that starts with zeros was
// allocated and not written yet.
func checkONNXStart(r *reader) error {
	if r.remaining() >= 8 {
		start, err := r.uint64()
		if err != nil {
			return err
		}
		if start == 0 {
			return defect("is corrupted: it starts with zeros")
		}
		r.seek(0)
	}
	tag, err := r.readVarint()
	if errors.Is(err, errONNX) {
		return errUnsupported
	}
	if err != nil {
		return err
	}
	if wire, known := modelFields[tag>>3]; !known || wire != tag&7 {
		return errUnsupported
	}
	r.seek(0)
	return nil
}

// readTensor adds how many bytes a tensor needs of a file, if its data_location is
// EXTERNAL. The keys of its external_data are location, offset and length.
func (r *reader) readTensor(end int64, locations map[string]int64) error {
	var isExternal bool
	external := map[string]string{}
	err := r.forEachField(end, func(f field) error {
		switch {
		case f.number == tensorDataLocation && f.wire == wireVarint:
			isExternal = f.value == locationExternal
		case f.number == tensorExternalData && f.wire == wireLen:
			return r.readEntry(f.end, external)
		}
		return nil
	})
	location := external["location"]
	if err != nil || !isExternal || location == "" {
		return err
	}
	if len(locations) == maxReferences {
		return errUnsupported
	}
	locations[location] = max(locations[location], parseNumber(external["offset"])+parseNumber(external["length"]))
	return nil
}

// parseNumber returns a number that cannot overflow in a sum, or 0 if the text is no
// such number.
func parseNumber(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxSize/2 {
		return 0
	}
	return n
}

// readEntry reads a key and a value.
func (r *reader) readEntry(end int64, into map[string]string) error {
	var key, value string
	err := r.forEachField(end, func(f field) error {
		if f.wire != wireLen {
			return nil
		}
		length := f.end - r.offset
		if length > maxString {
			return errUnsupported
		}
		text, err := r.bytes(int(length))
		switch f.number {
		case entryKey:
			key = string(text)
		case entryValue:
			value = string(text)
		}
		return err
	})
	if key == "location" || key == "offset" || key == "length" {
		into[key] = value
	}
	return err
}

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
		return f, errONNX
	}
	length, err := r.readLength(&f)
	if err != nil {
		return f, err
	}
	if length > maxSize {
		return f, errONNX
	}
	f.end = r.offset + int64(length)
	switch {
	case f.end <= end:
		return f, nil
	case end == r.size:
		return f, truncated(r.size, f.end)
	default:
		return f, errONNX
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
		return 0, errONNX
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
	return 0, errONNX
}
