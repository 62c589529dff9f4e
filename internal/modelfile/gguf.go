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
	// ggufAlignment is the alignment of the data when the metadata has none.
	ggufAlignment = 32
	// maxGGUFDimensions is twice what the specification has; it says that
	// there may be more some day.
	maxGGUFDimensions = 8
	// maxGGUFDepth is how deep arrays may lie in arrays. ggml reads none that
	// do.
	maxGGUFDepth = 4
)

// Types of metadata: gguf_metadata_value_type.
const (
	ggufUint32 = 4
	ggufString = 8
	ggufArray  = 9
)

// ggufValueSizes are the sizes in bytes of metadata of each type that has one.
var ggufValueSizes = map[uint32]uint64{
	0: 1, 1: 1, 2: 2, 3: 2, ggufUint32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8,
}

// block is how many bytes so many weights of a type take.
type block struct{ weights, bytes uint64 }

// ggmlBlocks are the types of tensors that the specification names (ggml_type),
// with the sizes of their blocks from GGML_QUANT_SIZES in
// https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py.
// Q8_1 is not among them, since ggml itself has another size for it, nor are
// later numbers, which forks of ggml use for types of their own.
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
}

// checkGGUF compares a file's size with the end of its last tensor.
func checkGGUF(r *reader) error {
	tensors, err := readGGUFStart(r)
	if err != nil {
		return err
	}
	alignment, err := readGGUFMetadata(r, tensors.metadata)
	if err != nil {
		return err
	}
	var end uint64
	for range tensors.count {
		tensorEnd, err := readGGUFTensor(r)
		if err != nil {
			return err
		}
		end = max(end, tensorEnd)
	}
	if tensors.count == 0 {
		return nil
	}
	start := uint64(r.at)
	start += (alignment - start%alignment) % alignment
	if end > maxSize {
		return errNotUnderstood
	}
	if want := int64(start + end); r.size < want {
		return cutShort(r.size, want)
	}
	return nil
}

// ggufCounts is what a header says about what follows it.
type ggufCounts struct{ count, metadata uint64 }

func readGGUFStart(r *reader) (ggufCounts, error) {
	magic, err := r.bytes(len(ggufMagic))
	if err != nil {
		return ggufCounts{}, err
	}
	if string(magic) != ggufMagic {
		return ggufCounts{}, damaged("is damaged: it does not begin with %s", ggufMagic)
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
		return ggufCounts{}, errNotUnderstood
	}
	count, err := r.uint64()
	if err != nil {
		return ggufCounts{}, err
	}
	metadata, err := r.uint64()
	return ggufCounts{count: count, metadata: metadata}, err
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
			return 0, errNotUnderstood
		}
		value, err := r.uint32()
		if err != nil {
			return 0, err
		}
		alignment = uint64(value)
	}
	if alignment == 0 {
		return 0, errNotUnderstood
	}
	return alignment, nil
}

// readGGUFKey says whether the next key is that of the alignment.
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
		return errNotUnderstood
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
		return errNotUnderstood
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
		over, all := bits.Mul64(size, length)
		if over > 0 {
			return errEnds
		}
		return r.skip(all)
	}
	for range length {
		if err := skipGGUFValue(r, kind, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// readGGUFTensor returns where a tensor's data ends, counted from the beginning
// of all data. Of a type that is not known, it is where the data begins.
func readGGUFTensor(r *reader) (uint64, error) {
	if err := skipGGUFString(r); err != nil {
		return 0, err
	}
	dimensions, err := r.uint32()
	if err != nil {
		return 0, err
	}
	if dimensions > maxGGUFDimensions {
		return 0, errNotUnderstood
	}
	var shape [maxGGUFDimensions]uint64
	for i := range dimensions {
		if shape[i], err = r.uint64(); err != nil {
			return 0, err
		}
	}
	kind, err := r.uint32()
	if err != nil {
		return 0, err
	}
	offset, err := r.uint64()
	if err != nil {
		return 0, err
	}
	size, err := ggmlSize(kind, shape[:dimensions])
	if err != nil {
		return 0, err
	}
	end, over := bits.Add64(offset, size, 0)
	if over > 0 {
		return 0, errNotUnderstood
	}
	return end, nil
}

// ggmlSize returns how many bytes a tensor's data takes at least. Blocks do not
// span rows, as ggml_row_size in
// https://github.com/ggml-org/ggml/blob/master/src/ggml.c has it.
func ggmlSize(kind uint32, shape []uint64) (uint64, error) {
	of, known := ggmlBlocks[kind]
	if !known {
		return 0, nil
	}
	row := uint64(1)
	if len(shape) > 0 {
		row = shape[0]
	}
	if row%of.weights != 0 {
		return 0, errNotUnderstood
	}
	over, size := bits.Mul64(row/of.weights, of.bytes)
	for i := 1; i < len(shape) && over == 0; i++ {
		over, size = bits.Mul64(size, shape[i])
	}
	if over > 0 {
		return 0, errNotUnderstood
	}
	return size, nil
}
