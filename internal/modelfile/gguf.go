package modelfile

import (
	"encoding/binary"
	"math/bits"
)

// The format is specified in
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a header with the
// number of tensors and of metadata, the metadata, the tensors' names, shapes,
// types and offsets, and after padding their data. Versions 2 and 3 have the
// same structure; version 3 may be big-endian.
const (
	ggufMagic        = "GGUF"
	ggufAlignmentKey = "general.alignment"
	// ggufAlignment is the default alignment of the data.
	ggufAlignment = 32
	// maxGGUFDimensions is twice the specification's limit, which may be raised in
	// the future.
	maxGGUFDimensions = 8
	// maxGGUFDepth is how deep arrays may be nested. ggml supports no nested arrays.
	maxGGUFDepth = 4
)

// Types of metadata values: gguf_metadata_value_type.
const (
	ggufUint32 = 4
	ggufString = 8
	ggufArray  = 9
)

// ggufValueSizes maps the types of fixed size to their sizes in bytes.
var ggufValueSizes = map[uint32]uint64{
	0: 1, 1: 1, 2: 2, 3: 2, ggufUint32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8,
}

// block is the unit in which weights of a type are stored.
type block struct{ weights, bytes uint64 }

// ggmlBlocks maps the types of tensors that the specification lists (ggml_type) to
// the sizes of their blocks, from GGML_QUANT_SIZES in
// https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py.
// Q8_1 is left out, because ggml itself has another size for it.
var ggmlBlocks = map[uint32]block{
	0:  {1, 4},     // F32
	1:  {1, 2},     // F16
	2:  {32, 18},   // Q4_0
	3:  {32, 20},   // Q4_1
	6:  {32, 22},   // Q5_0
	7:  {32, 24},   // Q5_1
	8:  {32, 34},   // Q8_0
	10: {256, 84},  // Q2_K
	11: {256, 110}, // Q3_K
	12: {256, 144}, // Q4_K
	13: {256, 176}, // Q5_K
	14: {256, 210}, // Q6_K
	15: {256, 292}, // Q8_K
	16: {256, 66},  // IQ2_XXS
	17: {256, 74},  // IQ2_XS
	18: {256, 98},  // IQ3_XXS
	19: {256, 50},  // IQ1_S
	20: {32, 18},   // IQ4_NL
	21: {256, 110}, // IQ3_S
	22: {256, 82},  // IQ2_S
	23: {256, 136}, // IQ4_XS
	24: {1, 1},     // I8
	25: {1, 2},     // I16
	26: {1, 4},     // I32
	27: {1, 8},     // I64
	28: {1, 8},     // F64
	29: {256, 56},  // IQ1_M
	30: {1, 2},     // BF16
	34: {256, 54},  // TQ1_0
	35: {256, 66},  // TQ2_0
	39: {32, 17},   // MXFP4
	40: {64, 36},   // NVFP4
	41: {128, 18},  // Q1_0
}

// checkGGUF compares a file's size with the end of its last tensor. Forks of ggml use
// the numbers of types for others of their own: if a tensor reaches past the start of
// the next one, the sizes of the types are not those of this file.
func checkGGUF(r *reader) error {
	counts, err := readGGUFHeader(r)
	if err != nil {
		return err
	}
	alignment, err := readGGUFMetadata(r, counts.metadata)
	if err != nil {
		return err
	}
	var end uint64
	var last ggufTensor
	for range counts.tensors {
		tensor, err := readGGUFTensor(r)
		if err != nil {
			return err
		}
		if tensor.start > last.start && tensor.start < last.end {
			return errUnsupported
		}
		end, last = max(end, tensor.end), tensor
	}
	if counts.tensors == 0 {
		return nil
	}
	start := uint64(r.offset)
	start += (alignment - start%alignment) % alignment
	if end > maxSize {
		return errUnsupported
	}
	if want := int64(start + end); r.size < want {
		return truncated(r.size, want)
	}
	return nil
}

// ggufCounts are the numbers of tensors and metadata entries in a header.
type ggufCounts struct{ tensors, metadata uint64 }

func readGGUFHeader(r *reader) (ggufCounts, error) {
	magic, err := r.bytes(len(ggufMagic))
	if err != nil {
		return ggufCounts{}, err
	}
	if string(magic) != ggufMagic {
		return ggufCounts{}, defectf("is corrupted: it does not start with %s", ggufMagic)
	}
	version, err := r.uint32()
	if err != nil {
		return ggufCounts{}, err
	}
	switch {
	case version == 2, version == 3:
	case bits.ReverseBytes32(version) == 3:
		r.order = binary.BigEndian
	default:
		return ggufCounts{}, errUnsupported
	}
	tensors, err := r.uint64()
	if err != nil {
		return ggufCounts{}, err
	}
	metadata, err := r.uint64()
	return ggufCounts{tensors: tensors, metadata: metadata}, err
}

// readGGUFMetadata skips the metadata and returns the alignment of the data.
func readGGUFMetadata(r *reader, count uint64) (uint64, error) {
	alignment := uint64(ggufAlignment)
	for range count {
		isAlignment, err := readGGUFKey(r)
		if err != nil {
			return 0, err
		}
		kind, err := r.uint32()
		if err != nil {
			return 0, err
		}
		if !isAlignment {
			if err := skipGGUFValue(r, kind, 0); err != nil {
				return 0, err
			}
			continue
		}
		if kind != ggufUint32 {
			return 0, errUnsupported
		}
		value, err := r.uint32()
		if err != nil {
			return 0, err
		}
		alignment = uint64(value)
	}
	if alignment == 0 {
		return 0, errUnsupported
	}
	return alignment, nil
}

// readGGUFKey reports whether the next key is that of the alignment.
func readGGUFKey(r *reader) (bool, error) {
	length, err := r.uint64()
	if err != nil {
		return false, err
	}
	if length != uint64(len(ggufAlignmentKey)) {
		return false, r.skip(length)
	}
	key, err := r.bytes(len(ggufAlignmentKey))
	return string(key) == ggufAlignmentKey, err
}

func skipGGUFValue(r *reader, kind uint32, depth int) error {
	if size, ok := ggufValueSizes[kind]; ok {
		return r.skip(size)
	}
	switch kind {
	case ggufString:
		return skipGGUFString(r)
	case ggufArray:
		return skipGGUFArray(r, depth)
	default:
		return errUnsupported
	}
}

func skipGGUFString(r *reader) error {
	length, err := r.uint64()
	if err != nil {
		return err
	}
	return r.skip(length)
}

func skipGGUFArray(r *reader, depth int) error {
	if depth == maxGGUFDepth {
		return errUnsupported
	}
	kind, err := r.uint32()
	if err != nil {
		return err
	}
	length, err := r.uint64()
	if err != nil {
		return err
	}
	if size, ok := ggufValueSizes[kind]; ok {
		overflow, total := bits.Mul64(size, length)
		if overflow > 0 {
			return errTruncated
		}
		return r.skip(total)
	}
	for range length {
		if err := skipGGUFValue(r, kind, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// ggufTensor is where a tensor's data starts and ends, relative to the start of all
// data. The data of an unknown type ends where it starts.
type ggufTensor struct{ start, end uint64 }

func readGGUFTensor(r *reader) (ggufTensor, error) {
	shape, err := readGGUFShape(r)
	if err != nil {
		return ggufTensor{}, err
	}
	kind, err := r.uint32()
	if err != nil {
		return ggufTensor{}, err
	}
	start, err := r.uint64()
	if err != nil {
		return ggufTensor{}, err
	}
	size, err := ggmlSize(kind, shape)
	if err != nil {
		return ggufTensor{}, err
	}
	end, overflow := bits.Add64(start, size, 0)
	if overflow > 0 {
		return ggufTensor{}, errUnsupported
	}
	return ggufTensor{start: start, end: end}, nil
}

// readGGUFShape skips a tensor's name and reads its dimensions.
func readGGUFShape(r *reader) ([]uint64, error) {
	if err := skipGGUFString(r); err != nil {
		return nil, err
	}
	dimensions, err := r.uint32()
	if err != nil {
		return nil, err
	}
	if dimensions > maxGGUFDimensions {
		return nil, errUnsupported
	}
	shape := make([]uint64, dimensions)
	for i := range shape {
		if shape[i], err = r.uint64(); err != nil {
			return nil, err
		}
	}
	return shape, nil
}

// ggmlSize returns the minimum size of a tensor's data in bytes. Blocks do not span
// rows: see ggml_row_size in
// https://github.com/ggml-org/ggml/blob/master/src/ggml.c.
func ggmlSize(kind uint32, shape []uint64) (uint64, error) {
	b, known := ggmlBlocks[kind]
	if !known {
		return 0, nil
	}
	row := uint64(1)
	if len(shape) > 0 {
		row = shape[0]
	}
	if row%b.weights != 0 {
		return 0, errUnsupported
	}
	overflow, size := bits.Mul64(row/b.weights, b.bytes)
	for i := 1; i < len(shape) && overflow == 0; i++ {
		overflow, size = bits.Mul64(size, shape[i])
	}
	if overflow > 0 {
		return 0, errUnsupported
	}
	return size, nil
}
