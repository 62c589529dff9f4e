package modelfile

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strconv"
)

// The format is protocol buffers' (https://protobuf.dev/programming-guides/encoding/)
// with the messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
// A message is fields one after the other; each begins with a tag, which holds
// its number and how it is encoded.
const (
	wireVarint = 0
	wireEight  = 1
	wireLength = 2
	wireStart  = 3
	wireEnd    = 4
	wireFour   = 5

	// maxVarint is the longest number, in bytes.
	maxVarint = binary.MaxVarintLen64
	// maxString is the longest text that is read.
	maxString = 4096
)

// Numbers of the fields that are read, and of the one value that matters.
const (
	modelGraph         = 7
	graphInitializer   = 5
	tensorExternalData = 13
	tensorDataLocation = 14
	locationExternal   = 1
	entryKey           = 1
	entryValue         = 2
)

// modelFields are the fields of a ModelProto and how they are encoded. What
// does not begin with one of them is not an ONNX model, whatever its name.
var modelFields = map[uint64]uint64{
	1: wireVarint, 2: wireLength, 3: wireLength, 4: wireLength, 5: wireVarint, 6: wireLength,
	modelGraph: wireLength, 8: wireLength, 14: wireLength, 20: wireLength, 25: wireLength, 26: wireLength,
}

var errONNX = damage("is damaged: what it holds is not in the form of an ONNX model")

// lookAtONNX walks a model's fields, and looks for the files of data that its
// tensors name. A location is "relative to the directory where the ONNX
// protobuf model was stored".
func (c *checker) lookAtONNX(file File, r *reader) error {
	locations, err := readONNX(r)
	if err != nil {
		return err
	}
	var absent []string
	for _, location := range slices.Sorted(maps.Keys(locations)) {
		name := beside(file, location)
		if name == "" {
			continue
		}
		size, there, err := c.find(name)
		switch want := locations[location]; {
		case err != nil:
			return err
		case !there:
			absent = append(absent, name)
		case size < want:
			c.problems.add("%s is cut short: it holds %d bytes, and %s speaks of %d", shown(name), size, shown(file.Path), want)
		}
	}
	if len(absent) > 0 {
		c.problems.add("%s %s named in %s and not there", shownList(absent), are(absent), shown(file.Path))
	}
	return nil
}

// readONNX returns how many bytes a model needs of each file that its tensors
// name.
func readONNX(r *reader) (map[string]int64, error) {
	if err := startsAsONNX(r); err != nil {
		return nil, err
	}
	locations := map[string]int64{}
	err := r.message(r.size, func(f field) error {
		if f.number != modelGraph || f.wire != wireLength {
			return nil
		}
		return r.message(f.end, func(f field) error {
			if f.number != graphInitializer || f.wire != wireLength {
				return nil
			}
			return r.tensor(f.end, locations)
		})
	})
	return locations, err
}

// startsAsONNX says whether a file begins as a model does. It may be something
// else, encrypted for one; but one that begins with zeros is a file whose space
// was taken before its content came.
func startsAsONNX(r *reader) error {
	if r.left() >= 8 {
		start, err := r.uint64()
		if err != nil {
			return err
		}
		if start == 0 {
			return damage("is damaged: it begins with zeros")
		}
		r.seek(0)
	}
	tag, err := r.varint()
	if errors.Is(err, errONNX) {
		return errNotUnderstood
	}
	if err != nil {
		return err
	}
	if wire, known := modelFields[tag>>3]; !known || wire != tag&7 {
		return errNotUnderstood
	}
	r.seek(0)
	return nil
}

// tensor adds what a tensor needs of a file, if its data_location is EXTERNAL.
// The keys of its external_data are location, offset and length.
func (r *reader) tensor(end int64, locations map[string]int64) error {
	var isExternal bool
	external := map[string]string{}
	err := r.message(end, func(f field) error {
		switch {
		case f.number == tensorDataLocation && f.wire == wireVarint:
			isExternal = f.value == locationExternal
		case f.number == tensorExternalData && f.wire == wireLength:
			return r.entry(f.end, external)
		}
		return nil
	})
	location := external["location"]
	if err != nil || !isExternal || location == "" {
		return err
	}
	if len(locations) == maxNamed {
		return errNotUnderstood
	}
	locations[location] = max(locations[location], number(external["offset"])+number(external["length"]))
	return nil
}

// number reads a number that does no harm in a sum; what is none is 0.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxSize/2 {
		return 0
	}
	return n
}

// entry reads a key and a value.
func (r *reader) entry(end int64, into map[string]string) error {
	var key, value string
	err := r.message(end, func(f field) error {
		if f.wire != wireLength {
			return nil
		}
		length := f.end - r.at
		if length > maxString {
			return errNotUnderstood
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

// field is one field of a message: its number, its encoding, and what it holds
// if that is a number.
type field struct {
	number, wire, value uint64
	// end is where its content ends.
	end int64
}

// message calls visit at the content of each field of a message that ends at
// end, and goes on after it.
func (r *reader) message(end int64, visit func(f field) error) error {
	for r.at < end {
		f, err := r.field(end)
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

// field reads up to a field's content, or after it if that is a number.
func (r *reader) field(end int64) (field, error) {
	tag, err := r.varint()
	if err != nil {
		return field{}, err
	}
	f := field{number: tag >> 3, wire: tag & 7}
	if f.number == 0 {
		return f, errONNX
	}
	length, err := r.length(&f)
	if err != nil {
		return f, err
	}
	if length > maxSize {
		return f, errONNX
	}
	f.end = r.at + int64(length)
	switch {
	case f.end <= end:
		return f, nil
	case end == r.size:
		return f, cutShort(r.size, f.end)
	default:
		return f, errONNX
	}
}

// length returns how many bytes of a field are left to read.
func (r *reader) length(f *field) (length uint64, err error) {
	switch f.wire {
	case wireVarint:
		f.value, err = r.varint()
		return 0, err
	case wireEight:
		return 8, nil
	case wireLength:
		return r.varint()
	case wireFour:
		return 4, nil
	case wireStart, wireEnd:
		return 0, errNotUnderstood
	default:
		return 0, errONNX
	}
}

func (r *reader) varint() (uint64, error) {
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
