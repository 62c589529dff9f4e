package modelfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const advice = ". Finish copying the model, or remove the files that do not belong to it"

// model holds a model's files by path.
type model map[string]string

func (f model) fs() fstest.MapFS {
	files := fstest.MapFS{}
	for at, content := range f {
		files[at] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

func (f model) list() []File {
	var files []File
	for at, content := range f {
		files = append(files, File{Path: at, Size: int64(len(content))})
	}
	return files
}

func check(t *testing.T, f model) string {
	t.Helper()
	got, err := Check(t.Context(), f.fs(), f.list())
	require.NoError(t, err)
	return strings.TrimSuffix(got, advice)
}

// index returns an index that lists the given shards.
func index(shards ...string) string {
	weights := make([]string, 0, len(shards))
	for i, shard := range shards {
		weights = append(weights, fmt.Sprintf("%q: %q", fmt.Sprintf("layer.%d", i), shard))
	}
	return `{"metadata": {"total_size": 1}, "weight_map": {` + strings.Join(weights, ", ") + `}}`
}

func TestCheckComplete(t *testing.T) {
	complete := string(safetensors(64))
	tests := map[string]model{
		"no files":                 {},
		"files of unknown formats": {"config.json": "{}", "empty.txt": "", "vocab.bin": "", "README.md": "x"},
		"safetensors":              {"model.safetensors": complete},
		"safetensors without data": {"model.safetensors": string(safetensorsOf("{}", 0))},
		"safetensors with a padded header": {
			"model.safetensors": string(safetensorsOf(`{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}     `, 1)),
		},
		"safetensors of an unknown structure": {"model.safetensors": string(safetensorsOf(`{"w":{"at":[0,1]}}`, 5))},
		"GGUF":                                {"model.gguf": string(ggufModel(binary.LittleEndian))},
		"big-endian GGUF":                     {"model.gguf": string(ggufModel(binary.BigEndian))},
		"GGUF of an unknown version":          {"model.GGUF": "GGUF\x04\x00\x00\x00"},
		"GGUF without tensors":                {"vocab.gguf": newGGUF(binary.LittleEndian, 0, 0).String()},
		"GGUF with an unknown type": {
			"model.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(1<<40).uint32(97).uint64(0).zeros(32, 1).String(),
		},
		"GGUF of a fork whose type is smaller": {
			"model.gguf": newGGUF(binary.LittleEndian, 2, 0).
				string("v").uint32(2).uint64(256, 96).uint32(39).uint64(0).
				string("w").uint32(2).uint64(256, 96).uint32(39).uint64(5120).zeros(32, 2*5120).String(),
		},
		"GGUF with incomplete blocks": {
			"model.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(33).uint32(2).uint64(0).zeros(32, 0).String(),
		},
		"split GGUF": {
			"m-00001-of-00002.gguf": string(ggufModel(binary.LittleEndian)), "m-00002-of-00002.gguf": string(ggufModel(binary.LittleEndian)),
		},
		"GGUF with an impossible part number": {"m-00003-of-00002.gguf": string(ggufModel(binary.LittleEndian))},
		"ONNX":                                {"model.onnx": string(onnx(internal(100)))},
		"ONNX with external data": {
			"a/model.onnx":        string(onnx(external("location", "data/weights", "offset", "4", "length", "6"), external("location", "all"))),
			"a/data/weights":      "0123456789",
			"a/all":               "x",
			"unrelated/data.onnx": string(onnx()),
		},
		"ONNX with external_data but without its location flag": {"model.onnx": string(onnx(message{}.bytes(13, message{}.bytes(1, []byte("location")).bytes(2, []byte("gone")))))},
		"ONNX with data outside the model":                      {"a/model.onnx": string(onnx(external("location", "../../x"), external("location", "/x"), external("location", `a\b`)))},
		"ONNX with data in another directory": {
			"model/m.onnx": string(onnx(external("location", "w.data", "length", "8"))), "weights/w.data": "12345678",
		},
		"ONNX in one of several precisions": {
			"onnx/model.onnx":           string(onnx(external("location", "model.onnx_data", "length", "8"))),
			"onnx/model_q4.onnx":        string(onnx(external("location", "model_q4.onnx_data", "length", "8"))),
			"onnx/model_quantized.onnx": string(onnx(internal(10))),
		},
		"ONNX with data of unknown size": {"m.onnx": string(onnx(externalOf(8, "location", "w"))), "w": "x"},
		"ONNX with unknown fields":       {"m.onnx": string(message{}.varint(modelVersion, 8).bytes(99, nil))},
		"an encrypted ONNX file":         {"model.onnx": "onnx, but not as others know it"},
		"an index and its files": {
			"a/model.safetensors.index.json": index("1.safetensors", "b/2.safetensors", "1.safetensors"),
			"a/1.safetensors":                complete, "a/b/2.safetensors": complete,
		},
		"an index of a format that was not downloaded": {
			"pytorch_model.bin.index.json": index("pytorch_model-1.bin", "pytorch_model-2.bin"), "model.safetensors": complete,
		},
		"an index with weights of another format below it": {
			"model.safetensors.index.json": index("1.safetensors"), "original/consolidated.00.pth": "x",
		},
		"an index that lists files outside the model": {"model.safetensors.index.json": index("../1.safetensors", "/2.safetensors", "")},
		"an index with numbers of Python": {
			"m.safetensors.index.json": `{"metadata": {"total_size": Infinity, "loss": [-Infinity, NaN], "NaN": "I\"N"}, "weight_map": {"a": "1.safetensors"}}`, "1.safetensors": complete,
		},
		"indexes of other libraries": {
			"keras/m.weights.json": index("m_00000.weights.h5"), "keras/m_00000.weights.h5": hdf5(2, 0, 60),
			"paddle/model_state.pdparams.index.json": index("model_state-00001-of-00001.pdparams"), "paddle/model_state-00001-of-00001.pdparams": "x",
			"mlc/ndarray-cache.json":  `{"metadata": {}, "records": [{"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": 3, "records": [{"name": "w", "nbytes": 9}]}]}`,
			"mlc/params_shard_0.bin":  "123",
			"mlc2/ndarray-cache.json": `{"records": [{"dataPath": "params_shard_0.bin?partitions=4", "nbytes": 3}, {"name": "w", "nbytes": 3}]}`,
			"js/model.json":           `{"modelTopology": {}, "weightsManifest": [{"paths": ["group1-shard1of1.bin", "https://example.com/w.bin"], "weights": []}]}`,
			"js/group1-shard1of1.bin": "x",
		},
		"files with the names of indexes": {"a/model.json": "// a comment\n{}", "b/model.json": " \n", "c/tensor-cache.json": "[1]", "d/model.json": `{"records": [1]}`, "e/x.weights.json": "<html>"},
		"an index of another structure":   {"model.safetensors.index.json": `{"weight_map": ["a"]}`, "docs.index.json": `{"weight_map": {"a": "b"}}`, "a.bin.index.json": "[]"},
		"an index beside weights of a format that is not known": {
			"model.safetensors.index.json": index("model-00001-of-00002.safetensors"), "model.rkllm": strings.Repeat("x", minUnknownWeights+1),
		},
		"pointers to formats that were not fetched": {
			"model.safetensors": string(safetensors(maxPointer)), "pytorch_model.bin": lfsPointer, "tf_model.h5": lfsPointer, "onnx/model.onnx": lfsPointer,
		},
		"pointers to pictures": {"model.safetensors": complete, "docs/figure.png": lfsPointer},
		"shards that an index lists": {
			"model.safetensors.index.json": index("model-00002-of-00002.safetensors"), "model-00002-of-00002.safetensors": complete,
		},
		"SavedModel": {
			"m/saved_model.pb": savedModelOf(10), "m/assets.extra/saved_model_config.pb": "",
			"m/variables/variables.index": "x", "m/variables/variables.data-00000-of-00001": "x", "frozen/saved_model.pb": savedModelOf(2000),
			"encrypted/saved_model.pb": "\x1a\x7f and more", "other/saved_model.pb": savedModelStart + "\x00", "data/train.data-00001-of-00004": "x",
		},
		"TensorFlow Lite": {
			"a.tflite": tflite(8, 0, 400), "b.tflite": tfliteWithOffset(60, 100), "c.tflite": "encrypted: XXXXX", "d.tflite": "TFL3", "e.tflite": tflite(), "f.tflite": tfliteWithOffset(0, 0),
		},
		"MessagePack": {"a.msgpack": flax(1000), "b.mpk": flax(1), "c.msgpack": "text", "d.msgpack": "\x81", "e.msgpack": "\x82\xa1a\xc1", "f.mpk": "\xde\x00"},
		"pickles": {
			"a.pkl": "\x80\x04K\x01.", "b.pkl": "\x80\x02" + torchMagic + ". and weights", "c.pickle": "(i__main__\n", "d.pkl": zipOf(t, "a"), "joblib.pkl": "x\x9c compressed", "e.pkl": "", "f.pkl": "\x80",
		},
		"OpenVINO": {
			"a.xml": openVINO(4, 8), "a.bin": "123456789012", "b.xml": "<net/>", "c.xml": `<?xml version="1.0"?><project><net>`, "d.xml": "<net>&unknown;</net>",
			"e.xml": `<net><layers><layer type="Convolution"><weights offset="0" size="4"/></layer></layers></net>`, "e.bin": "1234",
			"f.xml": `<?xml version="1.0" encoding="utf-16"?><net/>`,
		},
		"OpenVINO with weights of another name": {"m.xml": openVINO(0, 4), "weights.bin": "1234"},
		"OpenVINO whose weights are not wanted": {"openvino/openvino_model.xml": openVINO(0, 4), "model.safetensors": string(safetensors(maxPointer))},
		"texts": {
			"config.json": `{"a": [1, NaN], "b": {"c": "}"}}`, "tokenizer.json": "// not JSON\n{", "vocab.json": "\n", "a/config.json": `"text`, "b/config.json": `{"a": 1} and more {`,
			"other.json": `{"a": `, "c/config.json": "{'a': ", "d/config.json": strings.Repeat("[", maxDepth+1),
		},
		"more than is supported": {
			"a.safetensors":              string(safetensorsOf(`{"w": {"data_offsets": [0, 1, 2]}}`, 0)),
			"b.safetensors":              string(safetensorsOf(`{"w": {"data_offsets": [0, 1.5]}}`, 0)),
			"nested.onnx":                string(onnxOf(nestedNode(maxONNXDepth, external("location", "gone")))),
			"name.onnx":                  string(onnx(external("location", strings.Repeat("x", maxString+1)))),
			"groups.onnx":                string(append(onnxOf(message{3<<3 | wireSGroup}), "cut"...)),
			"a/b.safetensors.index.json": index(numbered(maxReferences + 1)...),
			"m.tflite":                   string(tfliteStart(maxTFLiteBuffers + 1)[:40]),
			"overflow.onnx":              string(onnx(externalOf(1, "location", "w", "offset", "-1"), message{}.varint(tensorDims, 1<<63).bytes(14, nil))), "w": strings.Repeat("x", 24),
		},
		"downloads that may be older":              {".cache/huggingface/download/abc=.123.incomplete": "x", "model.safetensors": complete},
		"a shard of a format that was not fetched": {"pytorch_model-00002-of-00003.bin": "x", "model.safetensors": string(safetensors(maxPointer))},
		"configuration of Python":                  {"env/lib/python3.11/site-packages/easy-install.pth": ""},
		"PyTorch":                                  {"model.pt": zipOf(t, "archive/data.pkl", "archive/data/0"), "older.pth": "\x80\x02\x8a\nl\xfc", "adapter_model.bin": zipOf(t, "a")},
		"an archive with a comment":                {"model.keras": zipWithComment(t, "made by a tool PK\x05\x06")},
		"HDF5":                                     {"a.h5": hdf5(0, 0, 200), "b.hdf5": hdf5(1, 512, 900), "c.h5": hdf5(2, 0, 60), "d.h5": hdf5(3, 1024, 2000), "e.h5": hdf5(9, 0, 100), "f.h5": "not HDF5"},
		"NumPy":                                    {"a.npy": numpy("'<f4'", "(2, 3)", 24), "b.npy": numpy("'|O'", "(9,)", 1), "c.npy": numpy("[('x', '<f8')]", "(9,)", 1), "d.npy": numpy("'<U3'", "()", 12), "e.npy": "text"},
		"files of tools": {
			".no_exist/0a1b/model.safetensors": "", ".cache/a/model.safetensors.index.json": "", "a/._model.safetensors": "\x00\x05\x16\x07",
		},
		"small weights": {"w.pt": "version https://example.com", "w.bin": "version 1"},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) { assert.Empty(t, check(t, f)) })
	}
}

func TestCheckProblems(t *testing.T) {
	complete := string(safetensors(64))
	pointer := lfsPointer
	tests := map[string]struct {
		model model
		want  string
	}{
		"an empty file": {
			model: model{"a/model.safetensors": "", "config.json": ""},
			want:  "a/model.safetensors is empty",
		},
		"empty files of other formats": {
			model: model{"a.PTH": "", "b.onnx": "", "pytorch_model.bin": "", "other.bin": ""},
			want:  "a.PTH is empty; b.onnx is empty; pytorch_model.bin is empty",
		},
		"a file that Git LFS has not fetched": {
			model: model{"model.safetensors": pointer, "w.bin": pointer},
			want:  "model.safetensors is a Git LFS pointer and not the file itself (fetch it with git lfs pull); w.bin is a Git LFS pointer and not the file itself (fetch it with git lfs pull)",
		},
		"a file that an index lists": {
			model: model{"model.safetensors.index.json": index("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), "model-00001-of-00002.safetensors": complete},
			want:  "model-00002-of-00002.safetensors is listed in model.safetensors.index.json but missing",
		},
		"two files that an index in a directory lists": {
			model: model{"a/m.safetensors.index.fp16.json": index("1.safetensors", "b/3.safetensors", "2.safetensors"), "a/1.safetensors": complete},
			want:  "a/2.safetensors and a/b/3.safetensors are listed in a/m.safetensors.index.fp16.json but missing",
		},
		"all files that an index lists": {
			model: model{"unet/m.bin.index.json": index("1.bin", "2.bin", "3.bin"), "vae/model.safetensors": complete},
			want:  "unet/1.bin and 2 other files are listed in unet/m.bin.index.json but missing",
		},
		"an empty file that an index lists": {
			model: model{"m.bin.index.json": index("1.bin"), "1.bin": ""},
			want:  "1.bin is listed in m.bin.index.json but empty",
		},
		"a truncated index": {
			model: model{"m.bin.index.json": index("1.bin")[:20], "n.bin.index.json": "", "1.bin": "x"},
			want:  "m.bin.index.json is truncated or corrupted: it is not JSON; n.bin.index.json is truncated or corrupted: it is not JSON",
		},
		"safetensors of three bytes": {
			model: model{"w.safetensors": "abc"},
			want:  "w.safetensors is truncated: it has fewer than eight bytes",
		},
		"safetensors with a truncated header": {
			model: model{"w.safetensors": complete[:40]},
			want:  fmt.Sprintf("w.safetensors is truncated: it has 40 bytes, but its header describes %d", len(complete)-64),
		},
		"safetensors with truncated data": {
			model: model{"w.safetensors": complete[:len(complete)-1]},
			want:  fmt.Sprintf("w.safetensors is truncated: it has %d bytes, but its header describes %d", len(complete)-1, len(complete)),
		},
		"safetensors with trailing data": {
			model: model{"w.safetensors": complete + "x"},
			want:  fmt.Sprintf("w.safetensors is corrupted: it has %d bytes, but its header describes only %d", len(complete)+1, len(complete)),
		},
		"safetensors of zeros": {
			model: model{"w.safetensors": strings.Repeat("\x00", 4096)},
			want:  "w.safetensors is corrupted: its header cannot be 0 bytes long",
		},
		"safetensors that are a web page": {
			model: model{"w.safetensors": "<!DOCTYPE html><html></html>"},
			want:  "w.safetensors is corrupted: its header cannot be 5789751444030890300 bytes long",
		},
		"safetensors with an incomplete header": {
			model: model{"w.safetensors": string(safetensorsOf(`{"w":{"data_offsets":[0,1]}`, 1))},
			want:  "w.safetensors is corrupted: its header is not JSON",
		},
		"safetensors with an impossible size": {
			model: model{"w.safetensors": string(safetensorsOf(`{"w":{"data_offsets":[0,9223372036854775807]}}`, 1))},
			want:  "w.safetensors is corrupted: its header describes 9223372036854775807 bytes",
		},
		"GGUF with truncated data": {
			model: model{"m.gguf": string(ggufModel(binary.LittleEndian)[:700])},
			want:  "m.gguf is truncated: it has 700 bytes, but its header describes 716",
		},
		"big-endian GGUF without its last byte": {
			model: model{"m.gguf": string(ggufModel(binary.BigEndian)[:715])},
			want:  "m.gguf is truncated: it has 715 bytes, but its header describes 716",
		},
		"GGUF with truncated metadata": {
			model: model{"m.gguf": string(ggufModel(binary.LittleEndian)[:100])},
			want:  "m.gguf is truncated: it ends in the middle of a value",
		},
		"GGUF with data after its end": {
			model: model{"m.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(1).uint32(97).uint64(4096).zeros(32, 1).String()},
			want:  "m.gguf is truncated: it has 65 bytes, but its header describes 4160",
		},
		"GGUF of zeros": {
			model: model{"m.gguf": strings.Repeat("\x00", 64)},
			want:  "m.gguf is corrupted: it does not start with GGUF",
		},
		"a pointer to a file of the tokenizer": {
			model: model{"model.safetensors": complete, "tokenizer.json": pointer, "saved_model.pb": pointer},
			want:  "saved_model.pb is a Git LFS pointer and not the file itself (fetch it with git lfs pull); tokenizer.json is a Git LFS pointer and not the file itself (fetch it with git lfs pull)",
		},
		"a pointer to a shard beside another format": {
			model: model{"model.safetensors.index.json": index("1.safetensors", "2.safetensors"), "1.safetensors": complete, "2.safetensors": pointer, "pytorch_model.bin": strings.Repeat("x", maxPointer)},
			want:  "2.safetensors is a Git LFS pointer and not the file itself (fetch it with git lfs pull)",
		},
		"a pointer beside weights of the same format": {
			model: model{"adapter.safetensors": string(safetensors(maxPointer)), "model.safetensors": pointer},
			want:  "model.safetensors is a Git LFS pointer and not the file itself (fetch it with git lfs pull)",
		},
		"shards without an index": {
			model: model{"config.json": "{}", "model-00001-of-00039.safetensors": complete, "pytorch_model-00002-of-00003.bin": zipOf(t, "a")},
			want:  "model-00002-of-00039.safetensors and 37 other files are missing, while model-00001-of-00039.safetensors is one of 39 parts; pytorch_model-00001-of-00003.bin and pytorch_model-00003-of-00003.bin are missing, while pytorch_model-00002-of-00003.bin is one of 3 parts",
		},
		"a truncated archive of PyTorch": {
			model: model{"model.pt": zipOf(t, "archive/data.pkl", "archive/data/0")[:100]},
			want:  "model.pt is truncated: the end of the archive, which lists its files, is missing",
		},
		"an archive without its last byte": {
			model: model{"w.npz": zipOf(t, "a")[:len(zipOf(t, "a"))-1]},
			want:  "w.npz is truncated: the end of the archive, which lists its files, is missing",
		},
		"truncated HDF5": {
			model: model{"a.h5": hdf5(0, 0, 200)[:199], "b.h5": hdf5(3, 512, 900)[:899]},
			want:  "a.h5 is truncated: it has 199 bytes, but its header describes 200; b.h5 is truncated: it has 899 bytes, but its header describes 900",
		},
		"a truncated array of NumPy": {
			model: model{"a.npy": numpy("'<f4'", "(2, 3)", 23)},
			want:  fmt.Sprintf("a.npy is truncated: it has %d bytes, but its header describes %d", len(numpy("'<f4'", "(2, 3)", 23)), len(numpy("'<f4'", "(2, 3)", 24))),
		},
		"missing parts of a split GGUF model": {
			model: model{"m-00002-of-00003.gguf": string(ggufModel(binary.LittleEndian)), "m-00003-of-00003.gguf": string(ggufModel(binary.LittleEndian))},
			want:  "m-00001-of-00003.gguf is missing, while m-00002-of-00003.gguf is one of 3 parts",
		},
		"ONNX with a truncated graph": {
			model: model{"m.onnx": string(onnx(internal(1000))[:500])},
			want:  fmt.Sprintf("m.onnx is truncated: it has 500 bytes, but its header describes %d", len(onnx(internal(1000)))-4),
		},
		"ONNX that ends in a varint": {
			model: model{"m.onnx": "\x08\x80"},
			want:  "m.onnx is truncated: it ends in the middle of a value",
		},
		"ONNX of zeros": {
			model: model{"m.onnx": strings.Repeat("\x00", 64)},
			want:  "m.onnx is corrupted: it starts with zeros",
		},
		"ONNX with a hole of zeros": {
			model: model{"m.onnx": "\x08\x07" + strings.Repeat("\x00", 64)},
			want:  "m.onnx is corrupted: its content is not a valid ONNX model",
		},
		"ONNX with a tensor that is longer than its graph": {
			model: model{"m.onnx": string(message{}.varint(1, 8).bytes(modelGraph, []byte{graphInitializer<<3 | wireLen, 100}).varint(5, 1))},
			want:  "m.onnx is corrupted: its content is not a valid ONNX model",
		},
		"ONNX without a graph": {
			model: model{"m.onnx": string(message{}.varint(modelVersion, 8).bytes(2, []byte("pytorch")))},
			want:  "m.onnx is truncated: the graph is missing",
		},
		"ONNX with nodes that are no messages": {
			model: model{"m.onnx": string(onnxOf([]byte("\xef\xbf\xbd")))},
			want:  "m.onnx is corrupted: its content is not a valid ONNX model",
		},
		"missing data of all kinds of tensors of ONNX": {
			model: model{"m.onnx": string(message{}.varint(modelVersion, 8).
				bytes(modelGraph, message{}.
					bytes(graphNode, nodeWith(message{}.bytes(attributeTensor, external("location", "attribute")))).
					bytes(graphNode, nodeWith(message{}.bytes(attributeGraph, message{}.bytes(graphInitializer, external("location", "branch"))))).
					bytes(15, message{}.bytes(1, external("location", "sparse")))).
				bytes(25, message{}.bytes(7, nodeWith(message{}.bytes(10, external("location", "function"))))))},
			want: "attribute and 3 other files are listed in m.onnx but missing",
		},
		"data of ONNX that is too short for its type": {
			model: model{"m.onnx": string(onnx(externalOf(1, "location", "w", "offset", "4"), externalOf(21, "location", "v"))), "w": "12345678901234567890", "v": "12"},
			want:  "v is truncated: it has 2 bytes, but m.onnx refers to 3; w is truncated: it has 20 bytes, but m.onnx refers to 28",
		},
		"empty data of ONNX, and a pointer": {
			model: model{"m.onnx": string(onnx(externalOf(1, "location", "w"), external("location", "v", "length", "9000"))), "w": "", "v": pointer},
			want:  "w is listed in m.onnx but empty; v is a Git LFS pointer and not the file itself (fetch it with git lfs pull)",
		},
		"one of two ONNX models": {
			model: model{"encoder_model.onnx": string(onnx(internal(9))), "decoder_model.onnx": string(onnx(external("location", "decoder.data", "length", "4")))},
			want:  "decoder.data is listed in decoder_model.onnx but missing",
		},
		"ONNX in two precisions, both without data": {
			model: model{"model.onnx": string(onnx(external("location", "a", "length", "4"))), "model_fp16.onnx": string(onnx(external("location", "b", "length", "4")))},
			want:  "a is listed in model.onnx but missing; b is listed in model_fp16.onnx but missing",
		},
		"ONNX with shorter data in another directory": {
			model: model{"model/m.onnx": string(onnx(external("location", "w.data", "length", "8"))), "weights/w.data": "1234567"},
			want:  "model/w.data is listed in model/m.onnx but missing",
		},
		"GGUF with a truncated tensor of a new type": {
			model: model{"m.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(256).uint32(40).uint64(0).zeros(32, 143).String()},
			want:  "m.gguf is truncated: it has 207 bytes, but its header describes 208",
		},
		"files that other indexes list": {
			model: model{
				"a/m.weights.json": index("m_00000.weights.h5"), "b/model_state.pdparams.index.json": index("model_state-00001-of-00001.pdparams"),
				"c/model.json": `{"weightsManifest": [{"paths": ["group1-shard1of1.bin"]}]}`,
			},
			want: "a/m_00000.weights.h5 is listed in a/m.weights.json but missing; b/model_state-00001-of-00001.pdparams is listed in b/model_state.pdparams.index.json but missing; c/group1-shard1of1.bin is listed in c/model.json but missing",
		},
		"truncated files of MLC": {
			model: model{"tensor-cache.json": `{"records": [{"dataPath": "0.bin", "nbytes": 9}, {"dataPath": "1.bin", "nbytes": 9}]}`, "0.bin": "12345678", "1.bin": ""},
			want:  "0.bin is truncated: it has 8 bytes, but tensor-cache.json refers to 9; 1.bin is listed in tensor-cache.json but empty",
		},
		"a truncated index of another library": {
			model: model{"model.json": `{"weightsManifest": [{"paths": ["a.bin"`},
			want:  "model.json is truncated: it is JSON that ends in the middle of a value",
		},
		"truncated texts": {
			model: model{"config.json": `{"a": [1, NaN], "b": `, "a/tokenizer.json": `{"model": {"vocab": {"x`},
			want:  "a/tokenizer.json is truncated: it is JSON that ends in the middle of a value; config.json is truncated: it is JSON that ends in the middle of a value",
		},
		"an empty and a truncated SavedModel": {
			model: model{"a/saved_model.pb": "", "b/saved_model.pb": savedModelOf(100)[:90], "c/saved_model.pb": strings.Repeat("\x00", 9)},
			want:  "a/saved_model.pb is empty; b/saved_model.pb is truncated: it has 90 bytes, but its header describes 104; c/saved_model.pb is corrupted: it starts with zeros",
		},
		"missing variables of SavedModels": {
			model: model{
				"a/saved_model.pb": savedModelOf(1), "a/variables/variables.index": "x",
				"b/saved_model.pb": savedModelOf(1), "b/variables/variables.data-00000-of-00001": "x",
			},
			want: "a/variables/variables.data-… is missing, while a/variables/variables.index exists; b/variables/variables.index is missing, while b/variables/variables.data-00000-of-00001 exists",
		},
		"a missing part of the variables of a SavedModel": {
			model: model{"saved_model.pb": savedModelOf(1), "variables/variables.index": "x", "variables/variables.data-00000-of-00002": "x"},
			want:  "variables/variables.data-00001-of-00002 is missing, while variables/variables.data-00000-of-00002 is one of 2 parts",
		},
		"a missing part of a checkpoint": {
			model: model{"model.ckpt-7.index": "x", "model.ckpt-7.data-00001-of-00002": "x"},
			want:  "model.ckpt-7.data-00000-of-00002 is missing, while model.ckpt-7.data-00001-of-00002 is one of 2 parts",
		},
		"a missing part whose format is in capitals": {
			model: model{"m-00001-of-00002.GGUF": string(ggufModel(binary.LittleEndian)), "m.safetensors": string(safetensors(maxPointer))},
			want:  "m-00002-of-00002.GGUF is missing, while m-00001-of-00002.GGUF is one of 2 parts",
		},
		"truncated TensorFlow Lite": {
			model: model{"a.tflite": tflite(400, 8)[:470], "b.tflite": tfliteWithOffset(1<<31, 1<<31), "c.tflite": strings.Repeat("\x00", 9)},
			want:  fmt.Sprintf("a.tflite is truncated: it has 470 bytes, but its header describes %d; b.tflite is truncated: it has %d bytes, but its header describes 4294967296; c.tflite is corrupted: it starts with zeros", len(tflite(400, 8)), len(tfliteWithOffset(0, 0))),
		},
		"truncated weights of Flax": {
			model: model{"flax_model.msgpack": flax(1000)[:900]},
			want:  "flax_model.msgpack is truncated: it ends in the middle of a value",
		},
		"a truncated pickle, and an archive": {
			model: model{"a.pkl": "\x80\x04K\x01", "b.pkl": zipOf(t, "a")[:50]},
			want:  "a.pkl is truncated: the end of the pickle is missing; b.pkl is truncated: the end of the archive, which lists its files, is missing",
		},
		"OpenVINO without weights, and with truncated ones": {
			model: model{"a.xml": openVINO(0, 8), "b.xml": openVINO(4, 8), "b.bin": "12345678901", "c.xml": openVINO(0, 8)[:150]},
			want:  "c.xml is truncated: it is XML that ends before its last element; b.bin is truncated: it has 11 bytes, but b.xml refers to 12; a.bin is listed in a.xml but missing",
		},
		"a download that was interrupted": {
			model: model{"config.json": "{}", ".cache/huggingface/download/abc=.123.incomplete": "x", "a/.cache/huggingface/download/b/c=.1.incomplete": "x", "d/model.pt": "x"},
			want:  "a/.cache/huggingface/download/b/c=.1.incomplete is an incomplete download",
		},
		"a model that was not downloaded": {
			model: model{"config.json": "{}", ".cache/huggingface/download/abc=.123.incomplete": "x"},
			want:  ".cache/huggingface/download/abc=.123.incomplete is an incomplete download",
		},
		"missing external data of ONNX": {
			model: model{"a/m.onnx": string(onnx(internal(3), external("location", "m.data", "length", "4"), external("location", "m.data", "offset", "4")))},
			want:  "a/m.data is listed in a/m.onnx but missing",
		},
		"truncated external data of ONNX": {
			model: model{"m.onnx": string(onnx(external("location", "m.data", "offset", "8", "length", "4"), external("location", "m.data", "length", "8"))), "m.data": "0123456789"},
			want:  "m.data is truncated: it has 10 bytes, but m.onnx refers to 12",
		},
		"many problems": {
			model: model{"1.pt": "", "2.pt": "", "3.pt": "", "4.pt": "", "5.pt": ""},
			want:  "1.pt is empty; 2.pt is empty; 3.pt is empty; and 2 more like this",
		},
		"names that need quotes": {
			model: model{"a\nb.pt": "", "c d; e.pt": "", "é.pt": ""},
			want:  `"a\nb.pt" is empty; "c d; e.pt" is empty; é.pt is empty`,
		},
		"a long name": {
			model: model{strings.Repeat("a/", 200) + "m.pt": ""},
			want:  "…" + strings.Repeat("a/", 38) + "m.pt is empty",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, check(t, tt.model)) })
	}
}

func TestCheckMessageHasAdvice(t *testing.T) {
	f := model{"a.pt": ""}
	got, err := Check(t.Context(), f.fs(), f.list())
	require.NoError(t, err)
	assert.Equal(t, "a.pt is empty"+advice, got)
}

func TestCheckFindsEveryTruncation(t *testing.T) {
	onnxModel := string(onnx(internal(10)))
	tests := map[string]struct {
		complete string
		// from is the size from which every truncation is found, except those in except.
		from   int
		except []int
	}{
		"m.safetensors": {complete: string(safetensors(64))},
		"m.gguf":        {complete: string(ggufModel(binary.LittleEndian))},
		// A message may end after any of its fields.
		"m.onnx":         {complete: onnxModel, except: []int{len(onnxModel) - 4}},
		"saved_model.pb": {complete: savedModelOf(50), from: len(savedModelStart) + 1},
		"m.tflite":       {complete: tflite(8, 40), from: 8},
		"m.msgpack":      {complete: flax(30), from: 2},
		"m.pkl":          {complete: "\x80\x04X\x03\x00\x00\x00abcq\x01.", from: 2},
		"m.pt":           {complete: zipOf(t, "a", "b"), from: 4},
		"m.npy":          {complete: numpy("'<f4'", "(2, 3)", 24), from: len(numpySignature)},
		"m.h5":           {complete: hdf5(2, 0, 60), from: len(hdf5Signature) + 1},
		"m.xml":          {complete: openVINO(0, 0), from: len("<?xml version=\"1.0\"?>\n<net name=\"model\" version=\"11\">")},
		"config.json":    {complete: `{"a": [1, {"b": "c"}], "d": null}`, from: 1},
		"model.json":     {complete: `{"weightsManifest": []}`, from: 1},
		"tokenizer.json": {complete: "[]", from: 1},
	}
	for at, tt := range tests {
		t.Run(at, func(t *testing.T) {
			assert.Empty(t, check(t, model{at: tt.complete}))
			for size := tt.from; size < len(tt.complete); size++ {
				got := check(t, model{at: tt.complete[:size]})
				if slices.Contains(tt.except, size) {
					assert.Empty(t, got, "%d bytes", size)
				} else {
					assert.NotEmpty(t, got, "%d bytes", size)
				}
			}
		})
	}
}

func TestGgmlBlocks(t *testing.T) {
	const superBlock = 256
	// As in GGML_QUANT_SIZES.
	want := map[uint32]uint64{
		2: 2 + 16, 3: 2 + 2 + 16, 6: 2 + 4 + 16, 7: 2 + 2 + 4 + 16, 8: 2 + 32, 39: 1 + 16, 20: 2 + 16, 40: 4 + 32, 41: 2 + 16,
		10: 2 + 2 + superBlock/16 + superBlock/4,
		11: 2 + superBlock/4 + superBlock/8 + 12,
		12: 2 + 2 + superBlock/2 + 12,
		13: 2 + 2 + superBlock/2 + superBlock/8 + 12,
		14: 2 + superBlock/2 + superBlock/4 + superBlock/16,
		15: 4 + superBlock + superBlock/8,
		16: 2 + superBlock/4,
		17: 2 + superBlock/4 + superBlock/32,
		18: 2 + superBlock/4 + superBlock/8,
		19: 2 + superBlock/8 + superBlock/16,
		21: 2 + superBlock/4 + superBlock/8 + superBlock/32 + 4,
		22: 2 + superBlock/4 + superBlock/16,
		23: 2 + 2 + superBlock/2 + superBlock/64,
		29: superBlock/8 + superBlock/16 + superBlock/32,
		34: 2 + 4*13,
		35: 2 + 64,
	}
	for kind, of := range ggmlBlocks {
		if of.weights > 1 {
			assert.Equal(t, want[kind], of.bytes, "type %d", kind)
		}
	}
	for kind := range maps.Keys(want) {
		assert.Contains(t, ggmlBlocks, kind)
	}
}

// Over an object store, each read is a request.
func TestCheckReadsEachFileAtMostTenTimes(t *testing.T) {
	var shards []string
	complete := model{}
	for i := range 200 {
		shard := fmt.Sprintf("model-%05d-of-00200.safetensors", i+1)
		shards = append(shards, shard)
		complete[shard] = string(safetensorsWithTensors(500))
	}
	complete["model.safetensors.index.json"] = index(slices.Repeat(shards, 1000)...)
	complete["model.gguf"] = string(ggufWithVocabulary(300_000))
	complete["inline.onnx"] = string(onnx(slices.Repeat([]message{internal(200_000)}, 50)...))
	complete["nodes.onnx"] = string(onnx(slices.Repeat([]message{internal(10)}, 100_000)...))
	complete["model.tflite"] = tflite(slices.Repeat([]int{100_000}, 50)...)
	complete["model.pt"] = zipOf(t, "archive/data.pkl")
	complete["model.h5"] = hdf5(0, 0, 1<<16)
	complete["model.xml"] = openVINO(0, 0)
	complete["tokenizer.json"] = `{"vocab": [` + strings.Repeat(`"token", `, 1<<20) + `""]}`
	counted := &countingFS{FS: complete.fs(), reads: map[string]int{}}

	got, err := Check(t.Context(), counted, complete.list())

	require.NoError(t, err)
	assert.Empty(t, got)
	assert.Len(t, counted.reads, len(complete))
	for name, reads := range counted.reads {
		assert.LessOrEqual(t, reads, 10, name)
	}
	for _, shard := range shards {
		assert.Equal(t, 1, counted.reads[shard], shard)
	}
}

// countingFS counts the reads of each file.
type countingFS struct {
	fs.FS
	reads map[string]int
}

func (c *countingFS) Open(name string) (fs.File, error) {
	file, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return countingFile{File: file, count: func() { c.reads[name]++ }}, nil
}

type countingFile struct {
	fs.File
	count func()
}

func (c countingFile) ReadAt(into []byte, at int64) (int, error) {
	c.count()
	return c.File.(io.ReaderAt).ReadAt(into, at)
}

func TestReaderGrowsItsReads(t *testing.T) {
	const size = 50_000_000
	r := newReader(t.Context(), zeros{}, size)
	n, err := io.Copy(io.Discard, r)
	require.NoError(t, err)
	assert.EqualValues(t, size, n)
	assert.LessOrEqual(t, r.reads, maxReads)
	assert.LessOrEqual(t, cap(r.window), maxRead)
}

// zeros is a file of zeros.
type zeros struct{}

func (zeros) ReadAt(into []byte, _ int64) (int, error) {
	clear(into)
	return len(into), nil
}

func TestReaderSkipsWhatIsNotNeeded(t *testing.T) {
	complete := onnx(internal(10<<20), internal(10<<20), internal(1))
	file := &countingReader{ReaderAt: bytes.NewReader(complete)}
	_, err := readONNX(File{Path: "m.onnx"}, newReader(t.Context(), file, int64(len(complete))))
	require.NoError(t, err)
	assert.LessOrEqual(t, file.bytes, 3*minRead)
}

// countingReader counts the bytes that are read.
type countingReader struct {
	io.ReaderAt
	bytes int
}

func (c *countingReader) ReadAt(into []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(into, at)
	c.bytes += n
	return n, err
}

// A file that has become shorter is not one that was always too short.
func TestCheckReturnsThatAFileShrank(t *testing.T) {
	for _, at := range []string{"m.safetensors", "m.bin.index.json", "config.json", "m.xml", "m.pkl", "m.onnx"} {
		t.Run(at, func(t *testing.T) {
			files := fstest.MapFS{at: &fstest.MapFile{Data: []byte(`{"a": `)}}
			_, err := Check(t.Context(), files, []File{{Path: at, Size: 2000}})
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	}
}

// The names to which the files of a model refer do not fill the memory.
func TestCheckLimitsNames(t *testing.T) {
	assert.Contains(t, check(t, model{"a.safetensors.index.json": index("x.safetensors")}), "x.safetensors is listed in a.safetensors.index.json but missing")
	assert.Empty(t, check(t, model{"a.safetensors.index.json": index(strings.Repeat("x/", maxPath/2) + "x.safetensors")}), "this is no path")

	var shards []string
	for i := range maxReferences {
		shards = append(shards, fmt.Sprintf("%05d", i)+strings.Repeat("x", 1000))
	}
	large := model{"z.safetensors.index.json": index("x.safetensors")}
	for i := range 4 {
		large[fmt.Sprintf("%d.safetensors.index.json", i)] = index(shards...)
	}
	c := newChecker(large.fs(), large.list())
	for _, file := range c.files {
		require.NoError(t, c.check(t.Context(), file))
	}
	assert.Len(t, c.lists, 3, "the others are not read")
}

// A tag with a million attributes would be held in memory.
func TestCheckLimitsTags(t *testing.T) {
	net := func(attributes int) string {
		return `<net` + strings.Repeat(` a="x"`, attributes) + `><layer type="Const"><data offset="0" size="8"/></layer></net>`
	}
	assert.Contains(t, check(t, model{"model.xml": net(1000)}), "model.bin is listed in model.xml but missing")
	assert.Empty(t, check(t, model{"model.xml": net(maxTag/6 + 1)}))
}

func TestChecksSkipLargeTexts(t *testing.T) {
	c := newChecker(fstest.MapFS{}, nil)
	require.ErrorIs(t, checkJSON(newReader(t.Context(), zeros{}, maxJSON+1)), errUnsupported)
	require.ErrorIs(t, c.checkIndex(File{Path: "m.bin.index.json"}, newReader(t.Context(), zeros{}, maxJSON+1)), errUnsupported)
	require.ErrorIs(t, c.checkOpenVINO(File{Path: "m.xml"}, newReader(t.Context(), zeros{}, maxXML+1)), errUnsupported)
}

func TestNewJSONLimitsTokens(t *testing.T) {
	for name, text := range map[string]string{
		"a string":    `{"a": "` + strings.Repeat("x", maxToken) + `"}`,
		"white space": strings.Repeat(" ", maxToken+1) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, skipValue(newJSON(strings.NewReader(text))), errUnsupported)
		})
	}
}

// failingFS is a file system whose files cannot be read.
type failingFS struct {
	fs.FS
	openError, readError error
}

func (b failingFS) Open(name string) (fs.File, error) {
	if b.openError != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: b.openError}
	}
	file, err := b.FS.Open(name)
	return failingFile{File: file, err: b.readError}, err
}

type failingFile struct {
	fs.File
	err error
}

func (b failingFile) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestCheckReturnsReadErrors(t *testing.T) {
	names := []string{
		"m.safetensors", "m.gguf", "m.onnx", "m.bin.index.json", "w.pt", "m.h5", "m.npy", "m.msgpack", "m.pkl", "m.tflite", "m.xml", "saved_model.pb",
		"config.json", "model.json", "may-be-a-pointer.txt",
	}
	for _, at := range names {
		size := 2000
		if at == "may-be-a-pointer.txt" {
			size = 100
		}
		f := model{at: strings.Repeat("x", size)}
		for _, b := range []failingFS{{openError: syscall.EIO}, {readError: syscall.EIO}} {
			b.FS = f.fs()
			got, err := Check(t.Context(), b, f.list())
			require.ErrorIs(t, err, syscall.EIO, at)
			var pathError *fs.PathError
			require.ErrorAs(t, err, &pathError)
			assert.Equal(t, at, pathError.Path)
			assert.Empty(t, got)
		}
	}
}

func TestCheckReturnsStatErrors(t *testing.T) {
	f := model{"m.bin.index.json": index("gone.bin")}
	_, err := Check(t.Context(), statFailingFS{f.fs()}, f.list())
	require.ErrorIs(t, err, fs.ErrPermission)
}

// statFailingFS is a file system in which Stat fails.
type statFailingFS struct{ fstest.MapFS }

func (statFailingFS) Stat(name string) (fs.FileInfo, error) {
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrPermission}
}

func TestCheckFindsUnlistedFiles(t *testing.T) {
	f := model{"m.bin.index.json": index("linked/1.bin"), "linked/1.bin": "x"}
	got, err := Check(t.Context(), f.fs(), []File{{Path: "m.bin.index.json", Size: int64(len(f["m.bin.index.json"]))}})
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestCheckEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Check(ctx, model{}.fs(), []File{{Path: "a"}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestReaderLimitsValues(t *testing.T) {
	r := newReader(t.Context(), bytes.NewReader(make([]byte, 100)), 100)
	r.values = maxValues
	_, err := r.bytes(1)
	require.ErrorIs(t, err, errUnsupported)
}

// fuzz checks hostile files with the given name, complete and truncated.
func fuzz(f *testing.F, name string, seeds ...[]byte) {
	f.Helper()
	for _, seed := range seeds {
		f.Add(seed)
		f.Add(seed[:len(seed)/2])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		files := model{name: string(content)}
		got, err := Check(t.Context(), files.fs(), files.list())
		if err != nil {
			// A file may refer to a name that the file system rejects.
			var pathError *fs.PathError
			require.ErrorAs(t, err, &pathError)
		}
		assert.Less(t, len([]rune(got)), 500)
		assert.NotContains(t, got, "\n")
	})
}

func FuzzSafetensors(f *testing.F) {
	fuzz(f, "m.safetensors", safetensors(0), safetensors(10), safetensorsOf(`{"w":{"data_offsets":[1]},"v":[]}`, 3))
}

func FuzzGGUF(f *testing.F) {
	fuzz(f, "m.gguf", ggufModel(binary.LittleEndian), ggufModel(binary.BigEndian), newGGUF(binary.LittleEndian, 1<<63, 1<<63).uint32(9).Bytes())
}

func FuzzONNX(f *testing.F) {
	fuzz(f, "m.onnx", onnx(internal(10)), onnx(external("location", "m.data", "offset", "8", "length", "-4"), external("location", "a/../../b")))
}

func FuzzZip(f *testing.F) {
	fuzz(f, "m.pt", []byte(zipFile), []byte(zipFile+strings.Repeat("\x00", 20)+zipEnd+strings.Repeat("\x00", 18)))
}

func FuzzHDF5(f *testing.F) {
	fuzz(f, "m.h5", []byte(hdf5(0, 0, 80)), []byte(hdf5(3, 0, 60)), []byte(hdf5(1, 0, 1<<40)[:60]))
}

func FuzzNumpy(f *testing.F) {
	fuzz(f, "m.npy", []byte(numpy("'<f4'", "(2, 3)", 24)), []byte(numpy("'<U4294967295'", "(9223372036854775807, 9)", 1)))
}

func FuzzIndex(f *testing.F) {
	fuzz(f, "m.bin.index.json", []byte(index("1.bin", "../2.bin", "\x00")), []byte(`{"weight_map": {"a": 1}}`),
		[]byte(`{"records": [{"dataPath": "a", "nbytes": -9}], "weightsManifest": [{"paths": ["b"]}]}`))
}

func FuzzJSON(f *testing.F) {
	fuzz(f, "tokenizer.json", []byte(`{"a": [1, -Infinity, NaN], "b": "\"\\\u0000"}`), []byte("[[[["))
}

func FuzzSavedModel(f *testing.F) {
	fuzz(f, "saved_model.pb", []byte(savedModelOf(9)))
}

func FuzzTFLite(f *testing.F) {
	fuzz(f, "m.tflite", []byte(tflite(8, 0)), []byte(tfliteWithOffset(1<<63, 1<<63)))
}

func FuzzMsgpack(f *testing.F) {
	fuzz(f, "m.msgpack", []byte(flax(9)), []byte("\x81\xa1a\xdf\xff\xff\xff\xff\xdd\xff\xff\xff\xff"))
}

func FuzzPickle(f *testing.F) {
	fuzz(f, "m.pkl", []byte("\x80\x04K\x01."), []byte(zipFile))
}

func FuzzOpenVINO(f *testing.F) {
	fuzz(f, "m.xml", []byte(openVINO(4, 8)), []byte(`<net><layer type="Const"><data offset="9223372036854775807" size="-1"/>`))
}
