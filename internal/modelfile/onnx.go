package modelfile

import (
	"errors"
	"math/bits"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// The messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that lead to
// tensors.
const (
	onnxModel     = "ModelProto"
	onnxGraph     = "GraphProto"
	onnxNode      = "NodeProto"
	onnxAttribute = "AttributeProto"
	onnxSparse    = "SparseTensorProto"
	onnxFunction  = "FunctionProto"
	onnxTraining  = "TrainingInfoProto"
	onnxTensor    = "TensorProto"
)

// onnxFields maps the fields that lead to tensors to their messages.
var onnxFields = map[string]map[uint64]string{
	onnxModel:     {modelGraph: onnxGraph, 20: onnxTraining, 25: onnxFunction},
	onnxTraining:  {1: onnxGraph, 2: onnxGraph},
	onnxFunction:  {7: onnxNode, 11: onnxAttribute},
	onnxGraph:     {graphNode: onnxNode, graphInitializer: onnxTensor, 15: onnxSparse},
	onnxNode:      {nodeAttribute: onnxAttribute},
	onnxAttribute: {attributeTensor: onnxTensor, attributeGraph: onnxGraph, 10: onnxTensor, 11: onnxGraph, 22: onnxSparse, 23: onnxSparse},
	onnxSparse:    {1: onnxTensor, 2: onnxTensor},
}

// Numbers of the fields that are read, and the enum value EXTERNAL.
const (
	modelGraph         = 7
	graphNode          = 1
	graphInitializer   = 5
	nodeAttribute      = 5
	attributeTensor    = 5
	attributeGraph     = 6
	tensorDims         = 1
	tensorDataType     = 2
	tensorExternalData = 13
	tensorDataLocation = 14
	locationExternal   = 1
	entryKey           = 1
	entryValue         = 2
)

const (
	// maxONNXDepth is how deep messages may be nested: the default of the library of
	// protocol buffers.
	maxONNXDepth = 100
	// maxString is the maximum length of a string that is read.
	maxString = 4096
)

// modelFields maps the fields of a ModelProto to their wire types. A file that does
// not start with one of them is not an ONNX model, regardless of its name.
var modelFields = map[uint64]uint64{
	modelVersion: wireVarint, 2: wireLen, 3: wireLen, 4: wireLen, 5: wireVarint, 6: wireLen,
	modelGraph: wireLen, 8: wireLen, 14: wireLen, 20: wireLen, 25: wireLen, 26: wireLen,
}

// modelVersion is the number of the first field of a model.
const modelVersion = 1

// onnxBits maps the types of tensors (TensorProto.DataType) to the size of an element
// in bits. Strings have no fixed size.
var onnxBits = map[uint64]uint64{
	1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
	17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}

// checkONNX reads a model's messages and remembers the files to which its tensors
// refer. A location is "relative to the directory where the ONNX protobuf model was
// stored".
func (c *checker) checkONNX(file File, r *reader) error {
	needs, err := readONNX(file, r)
	if errors.Is(err, errNotProtobuf) {
		return defect("is corrupted: its content is not a valid ONNX model")
	}
	if err != nil {
		return err
	}
	c.wholeONNX[file.Path] = true
	return c.addList(list{file: file, needs: needs, excuse: c.excuseONNX})
}

// readONNX returns how many bytes a model needs of each file to which its tensors
// refer.
func readONNX(file File, r *reader) (references, error) {
	if err := checkONNXStart(r); err != nil {
		return nil, err
	}
	w := onnxWalk{reader: r, file: file, needs: references{}}
	hasGraph, known := false, true
	var first uint64
	err := r.forEachField(r.size, func(f field) error {
		if first == 0 {
			first = f.number
		}
		wire, isKnown := modelFields[f.number]
		known = known && isKnown && wire == f.wire
		hasGraph = hasGraph || f.number == modelGraph
		if err := w.visit(onnxModel, f, 0); !errors.Is(err, errEnough) {
			return err
		}
		return nil
	})
	if err == nil && !hasGraph && known && first == modelVersion {
		err = defect("is truncated: the graph is missing")
	}
	return w.needs, err
}

// checkONNXStart checks that a file starts like a model. If it does not, it may be
// something else, such as an encrypted model.
func checkONNXStart(r *reader) error {
	if err := r.checkStart(); err != nil {
		return err
	}
	tag, err := r.readVarint()
	if errors.Is(err, errNotProtobuf) {
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

// onnxWalk reads the tensors of a model that is stored in a file.
type onnxWalk struct {
	*reader
	file  File
	needs references
}

// errEnough ends the walk through a model with many large tensors: tools store either
// these in other files, or small ones in the model.
var errEnough = errors.New("enough of the model was read")

// visit reads the tensors in a field of a message.
func (w *onnxWalk) visit(message string, f field, depth int) error {
	if w.reads >= maxReads-1 {
		return errEnough
	}
	inner := onnxFields[message][f.number]
	switch {
	case inner == "" || f.wire != wireLen:
		return nil
	case inner == onnxTensor:
		return w.readTensor(f.end)
	case depth == maxONNXDepth:
		return errUnsupported
	}
	return w.forEachField(f.end, func(f field) error { return w.visit(inner, f, depth+1) })
}

// onnxData is what a tensor says about its data.
type onnxData struct {
	isExternal bool
	kind       uint64
	elements   uint64
	overflow   bool
	// entries are those of external_data: location, offset and length.
	entries map[string]string
}

// readTensor adds how many bytes a tensor needs of a file, if its data_location is
// EXTERNAL.
func (w *onnxWalk) readTensor(end int64) error {
	data := onnxData{elements: 1, entries: map[string]string{}}
	if err := w.forEachField(end, func(f field) error { return w.readTensorField(f, &data) }); err != nil {
		return err
	}
	if !data.isExternal || data.entries["location"] == "" {
		return nil
	}
	return w.needs.add(w.file, data.entries["location"], data.end())
}

func (w *onnxWalk) readTensorField(f field, data *onnxData) error {
	switch {
	case f.number == tensorDims && f.wire == wireVarint:
		data.multiply(f.value)
	case f.number == tensorDims && f.wire == wireLen:
		for w.offset < f.end {
			dimension, err := w.readVarint()
			if err != nil {
				return err
			}
			data.multiply(dimension)
		}
	case f.number == tensorDataType && f.wire == wireVarint:
		data.kind = f.value
	case f.number == tensorDataLocation && f.wire == wireVarint:
		data.isExternal = f.value == locationExternal
	case f.number == tensorExternalData && f.wire == wireLen:
		return w.readExternal(f.end, data.entries)
	}
	return nil
}

func (d *onnxData) multiply(dimension uint64) {
	var high uint64
	high, d.elements = bits.Mul64(d.elements, dimension)
	d.overflow = d.overflow || high > 0
}

// end returns where the data ends in its file. The length is optional.
func (d *onnxData) end() int64 {
	offset := parseNumber(d.entries["offset"])
	if length := parseNumber(d.entries["length"]); length > 0 {
		return offset + length
	}
	high, size := bits.Mul64(d.elements, onnxBits[d.kind])
	if d.overflow || high > 0 || size > maxSize/2 {
		return offset
	}
	return offset + int64((size+7)/8)
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

// readExternal reads an entry of external_data.
func (w *onnxWalk) readExternal(end int64, into map[string]string) error {
	key, value, err := w.readEntry(end)
	if key == "location" || key == "offset" || key == "length" {
		into[key] = value
	}
	return err
}

// readEntry reads a StringStringEntryProto: a key and a value.
func (r *reader) readEntry(end int64) (key, value string, err error) {
	err = r.forEachField(end, func(f field) error {
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
	return key, value, err
}

// excuseONNX returns which of the missing files of a model are certainly missing.
// Programs may be given another directory for them
// (https://github.com/onnx/onnx/blob/main/docs/ExternalData.md), and of a model in
// several precisions, users download one.
func (c *checker) excuseONNX(l list) []string {
	if len(l.missing) == len(l.needs) && c.hasWholeVariant(l.file.Path) {
		return nil
	}
	var missing []string
	for _, name := range l.missing {
		if size, exists := c.largestOfName()[path.Base(name)]; !exists || size < l.needs[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// precision matches what tools add to a model's name for a variant of another precision
// (https://huggingface.co/docs/transformers.js/guides/dtypes).
var precision = regexp.MustCompile(`_(bf16|bnb4|fp16|fp32|int4|int8|uint8|quantized|q[0-9]+(f16)?)$`)

// variantOf returns what the names of all variants of an ONNX model have in common.
func variantOf(name string) string {
	return precision.ReplaceAllString(strings.TrimSuffix(name, path.Ext(name)), "")
}

// hasWholeVariant reports whether another variant of an ONNX model is complete.
func (c *checker) hasWholeVariant(name string) bool {
	if c.wholeVariants == nil {
		c.wholeVariants = map[string]bool{}
		for whole := range c.wholeONNX {
			c.wholeVariants[variantOf(whole)] = true
		}
	}
	return c.wholeVariants[variantOf(name)]
}

// largestOfName returns the size of the largest file of each name in any directory.
func (c *checker) largestOfName() map[string]int64 {
	if c.largest == nil {
		c.largest = map[string]int64{}
		for _, file := range c.files {
			if !isHidden(file.Path) {
				name := path.Base(file.Path)
				c.largest[name] = max(c.largest[name], file.Size)
			}
		}
	}
	return c.largest
}
