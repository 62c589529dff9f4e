package modelfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lfsPointer is what Git LFS leaves in place of a file.
const lfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

// zipOf returns an archive of files with these names.
func zipOf(t *testing.T, names ...string) string {
	t.Helper()
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	for _, name := range names {
		file, err := writer.Create(name)
		require.NoError(t, err)
		_, err = file.Write(make([]byte, 64))
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	return archive.String()
}

// zipWithComment returns an archive with a comment at its end.
func zipWithComment(t *testing.T, comment string) string {
	t.Helper()
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	_, err := writer.Create("a")
	require.NoError(t, err)
	require.NoError(t, writer.SetComment(comment))
	require.NoError(t, writer.Close())
	return archive.String()
}

// hdf5 returns a file with a superblock after a user block, whose end of file is end.
func hdf5(version byte, userBlock, end int) string {
	block := append([]byte(hdf5Signature), version)
	if version < 2 {
		block = append(block, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0)
		if version == 1 {
			block = append(block, 32, 0, 0, 0)
		}
	} else {
		block = append(block, 8, 8, 0)
	}
	for _, address := range []uint64{uint64(userBlock), 1<<64 - 1, uint64(end)} {
		block = binary.LittleEndian.AppendUint64(block, address)
	}
	file := append(make([]byte, userBlock), block...)
	return string(append(file, make([]byte, max(0, min(end, 1<<16)-len(file)))...))
}

// numpy returns an array with a number of bytes of data.
func numpy(descr, shape string, data int) string {
	header := fmt.Sprintf("{'descr': %s, 'fortran_order': False, 'shape': %s, }\n", descr, shape)
	return numpySignature + "\x01\x00" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(header)))) + header + strings.Repeat("x", data)
}

// safetensors returns a file of one tensor with the given number of bytes of data.
func safetensors(data int) []byte {
	header, err := json.Marshal(map[string]any{
		"__metadata__": map[string]string{"format": "pt"},
		"weight":       map[string]any{"dtype": "U8", "shape": []int{data}, "data_offsets": []int{0, data}},
	})
	if err != nil {
		panic(err)
	}
	return safetensorsOf(string(header), data)
}

func safetensorsOf(header string, data int) []byte {
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(file, header...), make([]byte, data)...)
}

// safetensorsWithTensors returns a file with this many tensors of one byte.
func safetensorsWithTensors(count int) []byte {
	var header strings.Builder
	for i := range count {
		fmt.Fprintf(&header, `,"model.layers.%d.mlp.experts.weight":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1)
	}
	return safetensorsOf("{"+header.String()[1:]+"}", count)
}

// gguf is a GGUF file that is written value by value.
type gguf struct {
	bytes.Buffer
	order binary.AppendByteOrder
}

func (g *gguf) uint32(values ...uint32) *gguf {
	for _, v := range values {
		g.Write(g.order.AppendUint32(nil, v))
	}
	return g
}

func (g *gguf) uint64(values ...uint64) *gguf {
	for _, v := range values {
		g.Write(g.order.AppendUint64(nil, v))
	}
	return g
}

func (g *gguf) string(text string) *gguf {
	g.uint64(uint64(len(text)))
	g.WriteString(text)
	return g
}

// zeros writes zeros up to a multiple of the alignment, and then count more.
func (g *gguf) zeros(alignment, count int) *gguf {
	g.Write(make([]byte, (alignment-g.Len()%alignment)%alignment+count))
	return g
}

// newGGUF returns a file with a header of version 3.
func newGGUF(order binary.AppendByteOrder, tensors, metadata uint64) *gguf {
	g := &gguf{order: order}
	g.WriteString("GGUF")
	return g.uint32(3).uint64(tensors, metadata)
}

// ggufModel returns a model of two tensors, of 512 weights in Q4_K (288 bytes) and
// of 3 in F32 (12 bytes), with metadata of every kind.
func ggufModel(order binary.AppendByteOrder) []byte {
	const alignment = 64
	g := newGGUF(order, 2, 5)
	g.string("general.architecture").uint32(8).string("llama")
	g.string("general.alignment").uint32(4, alignment)
	g.string("tokenizer.ggml.tokens").uint32(9, 8).uint64(2).string("a").string("b")
	g.string("tokenizer.ggml.scores").uint32(9, 6).uint64(2).uint32(0, 0)
	g.string("nested").uint32(9, 9).uint64(1).uint32(5).uint64(1).uint32(7)
	g.string("blk.0").uint32(2).uint64(256, 2).uint32(12).uint64(0)
	g.string("norm").uint32(1).uint64(3).uint32(0).uint64(320)
	return g.zeros(alignment, 320+12).Bytes()
}

// ggufWithVocabulary returns a model with this many words.
func ggufWithVocabulary(words int) []byte {
	g := newGGUF(binary.LittleEndian, 1, 1)
	g.string("tokenizer.ggml.tokens").uint32(9, 8).uint64(uint64(words))
	for range words {
		g.string("a word")
	}
	return g.string("w").uint32(1).uint64(1).uint32(24).uint64(0).zeros(32, 1).Bytes()
}

// message is an encoded protocol buffers message.
type message []byte

func (m message) varint(number int, value uint64) message {
	m = binary.AppendUvarint(m, uint64(number)<<3|wireVarint)
	return binary.AppendUvarint(m, value)
}

func (m message) bytes(number int, content []byte) message {
	m = binary.AppendUvarint(m, uint64(number)<<3|wireLen)
	return append(binary.AppendUvarint(m, uint64(len(content))), content...)
}

// onnx returns a model with these initializers.
func onnx(tensors ...message) []byte {
	return onnxOf(nodeWith(message{}.bytes(1, []byte("value"))), tensors...)
}

// onnxOf returns a model with this node and these initializers.
func onnxOf(node message, tensors ...message) []byte {
	graph := message{}.bytes(graphNode, node).bytes(2, []byte("graph"))
	for _, t := range tensors {
		graph = graph.bytes(graphInitializer, t)
	}
	return message{}.varint(modelVersion, 8).bytes(2, []byte("pytorch")).bytes(modelGraph, graph).bytes(8, message{}.varint(2, 17))
}

// nodeWith returns a node of a graph with this attribute.
func nodeWith(attribute message) message {
	return message{}.bytes(1, []byte("input")).bytes(4, []byte("Constant")).bytes(nodeAttribute, attribute)
}

// nestedNode returns a node with a graph with such a node, and so on, with a tensor in
// the last one.
func nestedNode(depth int, tensor message) message {
	node := nodeWith(message{}.bytes(attributeTensor, tensor))
	for range depth {
		node = nodeWith(message{}.bytes(attributeGraph, message{}.bytes(graphNode, node)))
	}
	return node
}

// numbered returns this many names.
func numbered(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("%d.bin", i)
	}
	return names
}

// internal returns a tensor whose data is in the model.
func internal(data int) message {
	return message{}.varint(1, uint64(data)).bytes(9, make([]byte, data))
}

// external returns a tensor of 2 x 3 numbers whose data is in another file, with the
// given keys and values. A type of 0 is unknown.
func external(pairs ...string) message { return externalOf(0, pairs...) }

func externalOf(kind uint64, pairs ...string) message {
	t := message{}.varint(tensorDims, 2).bytes(tensorDims, []byte{3}).varint(tensorDataType, kind).bytes(8, []byte("weight"))
	for pair := range slices.Chunk(pairs, 2) {
		t = t.bytes(tensorExternalData, message{}.bytes(entryKey, []byte(pair[0])).bytes(entryValue, []byte(pair[1])))
	}
	return t.varint(tensorDataLocation, locationExternal)
}

// savedModelOf returns a SavedModel with a graph of this many bytes.
func savedModelOf(graph int) string {
	return string(message{}.varint(1, 1).bytes(2, make([]byte, graph)))
}

// tflite returns a TensorFlow Lite model with buffers of these lengths, multiples of
// four. The last buffer comes first in the file, as FlatBuffers' library writes them.
func tflite(lengths ...int) string {
	file := tfliteStart(len(lengths))
	vtable := len(file)
	file = appendUint16(file, 6, 8, 4, 0)
	for i, length := range slices.Backward(lengths) {
		table := len(file)
		binary.LittleEndian.PutUint32(file[36+4*i:], uint32(table-36-4*i))
		file = appendUint32(file, uint32(table-vtable), 4, uint32(length))
		file = append(file, make([]byte, length)...)
	}
	return string(file)
}

// tfliteWithOffset returns a TensorFlow Lite model with a buffer that is outside of the
// FlatBuffer.
func tfliteWithOffset(offset, size uint64) string {
	file := tfliteStart(1)
	vtable := len(file)
	file = appendUint16(file, 10, 20, 0, 4, 12, 0)
	table := len(file)
	binary.LittleEndian.PutUint32(file[36:], uint32(table-36))
	file = appendUint32(file, uint32(table-vtable))
	file = binary.LittleEndian.AppendUint64(file, offset)
	file = binary.LittleEndian.AppendUint64(file, size)
	return string(append(file, make([]byte, 100)...))
}

// tfliteStart returns a model up to the vector of its buffers, whose offsets are zero.
func tfliteStart(buffers int) []byte {
	file := appendUint32(nil, 24)
	file = append(file, tfliteIdentifier...)
	file = appendUint16(file, 14, 8, 0, 0, 0, 0, 4, 0)
	file = appendUint32(file, 16, 4, uint32(buffers))
	return append(file, make([]byte, 4*buffers)...)
}

func appendUint16(to []byte, values ...uint16) []byte {
	for _, v := range values {
		to = binary.LittleEndian.AppendUint16(to, v)
	}
	return to
}

func appendUint32(to []byte, values ...uint32) []byte {
	for _, v := range values {
		to = binary.LittleEndian.AppendUint32(to, v)
	}
	return to
}

// flax returns weights of Flax: maps, arrays, a number and this many bytes.
func flax(data int) string {
	bytes := binary.BigEndian.AppendUint32([]byte{0xc6}, uint32(data))
	bytes = append(bytes, make([]byte, data)...)
	return "\x81\xa6params\xde\x00\x03\xa1w\xd9\x01x\xa1a\x92\x01\xca\x00\x00\x00\x00\xa1b" + string(bytes)
}

// openVINO returns the topology of a model of OpenVINO, with weights at this offset.
func openVINO(offset, size int) string {
	return fmt.Sprintf(`<?xml version="1.0"?>
<net name="model" version="11">
  <layers>
    <layer id="0" name="size" type="Interpolate"><data offset="1000" size="1000"/></layer>
    <layer id="1" name="weight" type="Const"><data element_type="f32" offset="%d" shape="2" size="%d"/></layer>
  </layers>
</net>`, offset, size)
}
