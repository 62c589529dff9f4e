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
		"an encrypted ONNX file":                                {"model.onnx": "onnx, but not as others know it"},
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
		"an index of another structure":               {"model.safetensors.index.json": `{"weight_map": ["a"]}`, "docs.index.json": `{"weight_map": {"a": "b"}}`, "a.bin.index.json": "[]"},
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
	files := map[string][]byte{
		"m.safetensors": safetensors(64),
		"m.gguf":        ggufModel(binary.LittleEndian),
		"m.onnx":        onnx(internal(10)),
	}
	for at, complete := range files {
		// A message may end after any of its fields.
		mayEnd := []int{}
		if at == "m.onnx" {
			mayEnd = []int{2, 11, len(complete) - 4}
		}
		for size := range complete {
			got := check(t, model{at: string(complete[:size])})
			if slices.Contains(mayEnd, size) {
				assert.Empty(t, got, "%s of %d bytes", at, size)
			} else {
				assert.NotEmpty(t, got, "%s of %d bytes", at, size)
			}
		}
	}
}

func TestGgmlBlocks(t *testing.T) {
	const superBlock = 256
	// As in GGML_QUANT_SIZES.
	want := map[uint32]uint64{
		2: 2 + 16, 3: 2 + 2 + 16, 6: 2 + 4 + 16, 7: 2 + 2 + 4 + 16, 8: 2 + 32, 39: 1 + 16, 20: 2 + 16,
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

func TestReadONNXSkipsWeights(t *testing.T) {
	complete := onnx(internal(10<<20), internal(1))
	file := &countingReader{ReaderAt: bytes.NewReader(complete)}
	_, err := readONNX(newReader(t.Context(), file, int64(len(complete))))
	require.NoError(t, err)
	assert.LessOrEqual(t, file.bytes, 8*bufferSize)
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
	for _, at := range []string{"m.safetensors", "m.gguf", "m.onnx", "m.bin.index.json", "w.pt"} {
		f := model{at: strings.Repeat("x", 100)}
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
	fuzz(f, "m.bin.index.json", []byte(index("1.bin", "../2.bin", "\x00")), []byte(`{"weight_map": {"a": 1}}`))
}
