package modelfile

import (
	"math/bits"
	"regexp"
	"strconv"
	"strings"
)

// numpySignature is the start of an array of NumPy
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
const numpySignature = "\x93NUMPY"

// maxNumpyHeader is more than a header of a plain array has.
const maxNumpyHeader = 1 << 16

// What the header of a plain array describes, as Python writes it.
var (
	numpyType  = regexp.MustCompile(`'descr': '[<>|=]?([biufcSUV?])(\d*)'`)
	numpyShape = regexp.MustCompile(`'shape': \(([\d, ]*)\)`)
)

// checkNumpy compares the size of an array with its type and shape. Arrays of objects
// and of records pass.
func checkNumpy(r *reader) error {
	if r.size < int64(len(numpySignature)) {
		return nil
	}
	signature, err := r.bytes(len(numpySignature))
	if err != nil || string(signature) != numpySignature {
		return err
	}
	header, err := readNumpyHeader(r)
	if err != nil {
		return err
	}
	size, known := numpySize(header)
	if !known {
		return nil
	}
	if want := size + uint64(r.offset); want > uint64(r.size) {
		return truncated(r.size, int64(min(want, 1<<62)))
	}
	return nil
}

func readNumpyHeader(r *reader) (string, error) {
	version, err := r.bytes(2)
	if err != nil {
		return "", err
	}
	length := 2
	if version[0] > 1 {
		length = 4
	}
	raw, err := r.bytes(length)
	if err != nil {
		return "", err
	}
	size := int(raw[0]) | int(raw[1])<<8
	if length == 4 {
		size |= int(raw[2])<<16 | int(raw[3])<<24
	}
	if size > maxNumpyHeader {
		return "", errUnsupported
	}
	header, err := r.bytes(size)
	return string(header), err
}

// numpySize returns the size in bytes of the array that a header describes.
func numpySize(header string) (uint64, bool) {
	kind, shape := numpyType.FindStringSubmatch(header), numpyShape.FindStringSubmatch(header)
	if kind == nil || shape == nil {
		return 0, false
	}
	item := uint64(1)
	if kind[2] != "" {
		parsed, err := strconv.ParseUint(kind[2], 10, 32)
		if err != nil {
			return 0, false
		}
		item = parsed
	}
	if kind[1] == "U" {
		// A character has four bytes.
		item *= 4
	}
	for dimension := range strings.SplitSeq(shape[1], ",") {
		if dimension = strings.TrimSpace(dimension); dimension == "" {
			continue
		}
		parsed, err := strconv.ParseUint(dimension, 10, 63)
		if err != nil {
			return 0, false
		}
		high, low := bits.Mul64(item, parsed)
		if high > 0 || low >= 1<<62 {
			return 0, false
		}
		item = low
	}
	return item, true
}
