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

const advice = ". Finish copying the model, or remove what does not belong to it"

// folder is a model's files by path.
type folder map[string]string

func (f folder) fs() fstest.MapFS {
	files := fstest.MapFS{}
	for at, content := range f {
		files[at] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

func (f folder) list() []File {
	var files []File
	for at, content := range f {
		files = append(files, File{Path: at, Size: int64(len(content))})
	}
	return files
}

func check(t *testing.T, f folder) string {
	t.Helper()
	got, err := Check(t.Context(), f.fs(), f.list())
	require.NoError(t, err)
	return strings.TrimSuffix(got, advice)
}

func index(shards ...string) string {
	weights := make([]string, 0, len(shards))
	for i, shard := range shards {
		weights = append(weights, fmt.Sprintf("%q: %q", fmt.Sprintf("layer.%d", i), shard))
	}
	return `{"metadata": {"total_size": 1}, "weight_map": {` + strings.Join(weights, ", ") + `}}`
}

func TestWhatIsComplete(t *testing.T) {
	whole := string(safetensors(64))
	tests := map[string]folder{
		"nothing":                  {},
		"files of no known format": {"config.json": "{}", "empty.txt": "", "vocab.bin": "", "README.md": "x"},
		"safetensors":              {"model.safetensors": whole},
		"safetensors without data": {"model.safetensors": string(safetensorsOf("{}", 0))},
		"safetensors with a padded header": {
			"model.safetensors": string(safetensorsOf(`{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}     `, 1)),
		},
		"safetensors with what is not known": {"model.safetensors": string(safetensorsOf(`{"w":{"at":[0,1]}}`, 5))},
		"GGUF":                               {"model.gguf": string(ggufModel(binary.LittleEndian))},
		"GGUF of a big-endian machine":       {"model.gguf": string(ggufModel(binary.BigEndian))},
		"GGUF of a later version":            {"model.GGUF": "GGUF\x04\x00\x00\x00"},
		"GGUF without tensors":               {"vocab.gguf": newGGUF(binary.LittleEndian, 0, 0).String()},
		"GGUF with a type that is not known": {
			"model.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(1<<40).uint32(97).uint64(0).zeros(32, 1).String(),
		},
		"GGUF with rows of half a block": {
			"model.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(33).uint32(2).uint64(0).zeros(32, 0).String(),
		},
		"GGUF in all its parts": {
			"m-00001-of-00002.gguf": string(ggufModel(binary.LittleEndian)), "m-00002-of-00002.gguf": string(ggufModel(binary.LittleEndian)),
		},
		"GGUF of a part that cannot be": {"m-00003-of-00002.gguf": string(ggufModel(binary.LittleEndian))},
		"ONNX":                          {"model.onnx": string(onnx(inside(100)))},
		"ONNX with data beside it": {
			"a/model.onnx":        string(onnx(outside("location", "data/weights", "offset", "4", "length", "6"), outside("location", "all"))),
			"a/data/weights":      "0123456789",
			"a/all":               "x",
			"unrelated/data.onnx": string(onnx()),
		},
		"ONNX with data that is in it after all": {"model.onnx": string(onnx(message{}.bytes(13, message{}.bytes(1, []byte("location")).bytes(2, []byte("gone")))))},
		"ONNX with data that is elsewhere":       {"a/model.onnx": string(onnx(outside("location", "../../x"), outside("location", "/x"), outside("location", `a\b`)))},
		"something encrypted for ONNX":           {"model.onnx": "onnx, but not as others know it"},
		"an index and its files": {
			"a/model.safetensors.index.json": index("1.safetensors", "b/2.safetensors", "1.safetensors"),
			"a/1.safetensors":                whole, "a/b/2.safetensors": whole,
		},
		"an index of a format that was not downloaded": {
			"pytorch_model.bin.index.json": index("pytorch_model-1.bin", "pytorch_model-2.bin"), "model.safetensors": whole,
		},
		"an index whose weights are below it in another format": {
			"model.safetensors.index.json": index("1.safetensors"), "original/consolidated.00.pth": "x",
		},
		"an index that names what is elsewhere": {"model.safetensors.index.json": index("../1.safetensors", "/2.safetensors", "")},
		"an index of another kind":              {"model.safetensors.index.json": `{"weight_map": ["a"]}`, "docs.index.json": `{"weight_map": {"a": "b"}}`, "a.bin.index.json": "[]"},
		"what tools keep for themselves": {
			".no_exist/0a1b/model.safetensors": "", ".cache/a/model.safetensors.index.json": "", "a/._model.safetensors": "\x00\x05\x16\x07",
		},
		"small weights that are no pointers": {"w.pt": "version https://example.com", "w.bin": "version 1"},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) { assert.Empty(t, check(t, f)) })
	}
}

func TestWhatIsMissingOrDamaged(t *testing.T) {
	whole := string(safetensors(64))
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
	tests := map[string]struct {
		folder folder
		want   string
	}{
		"an empty file": {
			folder: folder{"a/model.safetensors": "", "config.json": ""},
			want:   "a/model.safetensors is empty",
		},
		"empty files of other formats": {
			folder: folder{"a.PTH": "", "b.onnx": "", "pytorch_model.bin": "", "other.bin": ""},
			want:   "a.PTH is empty; b.onnx is empty; pytorch_model.bin is empty",
		},
		"a file that Git LFS has not fetched": {
			folder: folder{"model.safetensors": pointer, "w.bin": pointer},
			want:   "model.safetensors is a pointer of Git LFS and not the file itself, which git lfs pull fetches; w.bin is a pointer of Git LFS and not the file itself, which git lfs pull fetches",
		},
		"a file that an index names": {
			folder: folder{"model.safetensors.index.json": index("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), "model-00001-of-00002.safetensors": whole},
			want:   "model-00002-of-00002.safetensors is named in model.safetensors.index.json and not there",
		},
		"two files that an index in a folder names": {
			folder: folder{"a/m.safetensors.index.fp16.json": index("1.safetensors", "b/3.safetensors", "2.safetensors"), "a/1.safetensors": whole},
			want:   "a/2.safetensors and a/b/3.safetensors are named in a/m.safetensors.index.fp16.json and not there",
		},
		"all files that an index names": {
			folder: folder{"unet/m.bin.index.json": index("1.bin", "2.bin", "3.bin"), "vae/model.safetensors": whole},
			want:   "unet/1.bin and 2 other files are named in unet/m.bin.index.json and not there",
		},
		"an empty file that an index names": {
			folder: folder{"m.bin.index.json": index("1.bin"), "1.bin": ""},
			want:   "1.bin is named in m.bin.index.json and empty",
		},
		"an index that is cut short": {
			folder: folder{"m.bin.index.json": index("1.bin")[:20], "n.bin.index.json": "", "1.bin": "x"},
			want:   "m.bin.index.json is cut short or damaged: it is not JSON; n.bin.index.json is cut short or damaged: it is not JSON",
		},
		"safetensors of three bytes": {
			folder: folder{"w.safetensors": "abc"},
			want:   "w.safetensors is cut short: it ends within the first eight bytes",
		},
		"safetensors without all of its header": {
			folder: folder{"w.safetensors": whole[:40]},
			want:   fmt.Sprintf("w.safetensors is cut short: it holds 40 bytes, and its header speaks of %d", len(whole)-64),
		},
		"safetensors without all of its data": {
			folder: folder{"w.safetensors": whole[:len(whole)-1]},
			want:   fmt.Sprintf("w.safetensors is cut short: it holds %d bytes, and its header speaks of %d", len(whole)-1, len(whole)),
		},
		"safetensors with more than their data": {
			folder: folder{"w.safetensors": whole + "x"},
			want:   fmt.Sprintf("w.safetensors is damaged: it holds %d bytes, and its header speaks of %d only", len(whole)+1, len(whole)),
		},
		"safetensors of zeros": {
			folder: folder{"w.safetensors": strings.Repeat("\x00", 4096)},
			want:   "w.safetensors is damaged: its header cannot be 0 bytes long",
		},
		"safetensors that are a web page": {
			folder: folder{"w.safetensors": "<!DOCTYPE html><html></html>"},
			want:   "w.safetensors is damaged: its header cannot be 5789751444030890300 bytes long",
		},
		"safetensors whose header breaks off": {
			folder: folder{"w.safetensors": string(safetensorsOf(`{"w":{"data_offsets":[0,1]}`, 1))},
			want:   "w.safetensors is damaged: its header is not JSON",
		},
		"safetensors that speak of more than there can be": {
			folder: folder{"w.safetensors": string(safetensorsOf(`{"w":{"data_offsets":[0,9223372036854775807]}}`, 1))},
			want:   "w.safetensors is damaged: its header speaks of 9223372036854775807 bytes",
		},
		"GGUF without all of its data": {
			folder: folder{"m.gguf": string(ggufModel(binary.LittleEndian)[:700])},
			want:   "m.gguf is cut short: it holds 700 bytes, and its header speaks of 716",
		},
		"GGUF of a big-endian machine without its last byte": {
			folder: folder{"m.gguf": string(ggufModel(binary.BigEndian)[:715])},
			want:   "m.gguf is cut short: it holds 715 bytes, and its header speaks of 716",
		},
		"GGUF without all of its metadata": {
			folder: folder{"m.gguf": string(ggufModel(binary.LittleEndian)[:100])},
			want:   "m.gguf is cut short: it ends where more must follow",
		},
		"GGUF whose data begins after its end": {
			folder: folder{"m.gguf": newGGUF(binary.LittleEndian, 1, 0).string("w").uint32(1).uint64(1).uint32(97).uint64(4096).zeros(32, 1).String()},
			want:   "m.gguf is cut short: it holds 65 bytes, and its header speaks of 4160",
		},
		"GGUF of zeros": {
			folder: folder{"m.gguf": strings.Repeat("\x00", 64)},
			want:   "m.gguf is damaged: it does not begin with GGUF",
		},
		"parts of GGUF that are not there": {
			folder: folder{"m-00002-of-00003.gguf": string(ggufModel(binary.LittleEndian)), "m-00003-of-00003.gguf": string(ggufModel(binary.LittleEndian))},
			want:   "m-00001-of-00003.gguf is not there, and m-00002-of-00003.gguf is one of 3 parts",
		},
		"ONNX without all of its graph": {
			folder: folder{"m.onnx": string(onnx(inside(1000))[:500])},
			want:   fmt.Sprintf("m.onnx is cut short: it holds 500 bytes, and its header speaks of %d", len(onnx(inside(1000)))-4),
		},
		"ONNX that ends within a number": {
			folder: folder{"m.onnx": "\x08\x80"},
			want:   "m.onnx is cut short: it ends where more must follow",
		},
		"ONNX of zeros": {
			folder: folder{"m.onnx": strings.Repeat("\x00", 64)},
			want:   "m.onnx is damaged: it begins with zeros",
		},
		"ONNX with a hole of zeros": {
			folder: folder{"m.onnx": "\x08\x07" + strings.Repeat("\x00", 64)},
			want:   "m.onnx is damaged: what it holds is not in the form of an ONNX model",
		},
		"ONNX with a tensor that is longer than its graph": {
			folder: folder{"m.onnx": string(message{}.varint(1, 8).bytes(modelGraph, []byte{graphInitializer<<3 | wireLength, 100}).varint(5, 1))},
			want:   "m.onnx is damaged: what it holds is not in the form of an ONNX model",
		},
		"data of ONNX that is not there": {
			folder: folder{"a/m.onnx": string(onnx(inside(3), outside("location", "m.data", "length", "4"), outside("location", "m.data", "offset", "4")))},
			want:   "a/m.data is named in a/m.onnx and not there",
		},
		"data of ONNX that is cut short": {
			folder: folder{"m.onnx": string(onnx(outside("location", "m.data", "offset", "8", "length", "4"), outside("location", "m.data", "length", "8"))), "m.data": "0123456789"},
			want:   "m.data is cut short: it holds 10 bytes, and m.onnx speaks of 12",
		},
		"more than anyone wants to read": {
			folder: folder{"1.pt": "", "2.pt": "", "3.pt": "", "4.pt": "", "5.pt": ""},
			want:   "1.pt is empty; 2.pt is empty; 3.pt is empty; and 2 more like this",
		},
		"odd names": {
			folder: folder{"a\nb.pt": "", "c d; e.pt": "", "é.pt": ""},
			want:   `"a\nb.pt" is empty; "c d; e.pt" is empty; é.pt is empty`,
		},
		"a long name": {
			folder: folder{strings.Repeat("a/", 200) + "m.pt": ""},
			want:   "…" + strings.Repeat("a/", 38) + "m.pt is empty",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, check(t, tt.folder)) })
	}
}

func TestTheSentenceSaysWhatToDo(t *testing.T) {
	f := folder{"a.pt": ""}
	got, err := Check(t.Context(), f.fs(), f.list())
	require.NoError(t, err)
	assert.Equal(t, "a.pt is empty"+advice, got)
}

func TestEveryFileThatIsCutShortIsFound(t *testing.T) {
	files := map[string][]byte{
		"m.safetensors": safetensors(64),
		"m.gguf":        ggufModel(binary.LittleEndian),
		"m.onnx":        onnx(inside(10)),
	}
	for at, whole := range files {
		// At the end of one of its fields a message may end.
		mayEnd := []int{}
		if at == "m.onnx" {
			mayEnd = []int{2, 11, len(whole) - 4}
		}
		for size := range whole {
			got := check(t, folder{at: string(whole[:size])})
			if slices.Contains(mayEnd, size) {
				assert.Empty(t, got, "%s of %d bytes", at, size)
			} else {
				assert.NotEmpty(t, got, "%s of %d bytes", at, size)
			}
		}
	}
}

func TestTheSizesOfTypesAreThoseOfGgml(t *testing.T) {
	const superBlock = 256
	// As GGML_QUANT_SIZES writes them.
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

func TestTheWeightsAreNotRead(t *testing.T) {
	whole := onnx(inside(10<<20), inside(1))
	file := &counter{ReaderAt: bytes.NewReader(whole)}
	_, err := readONNX(newReader(t.Context(), file, int64(len(whole))))
	require.NoError(t, err)
	assert.LessOrEqual(t, file.bytes, 8*bufferSize)
}

// counter counts the bytes that are read of a file.
type counter struct {
	io.ReaderAt
	bytes int
}

func (c *counter) ReadAt(into []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(into, at)
	c.bytes += n
	return n, err
}

// broken is a folder whose files cannot be read.
type broken struct {
	fs.FS
	openError, readError error
}

func (b broken) Open(name string) (fs.File, error) {
	if b.openError != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: b.openError}
	}
	file, err := b.FS.Open(name)
	return brokenFile{File: file, err: b.readError}, err
}

type brokenFile struct {
	fs.File
	err error
}

func (b brokenFile) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestThatAFileCannotBeReadIsNotThatItIsDamaged(t *testing.T) {
	for _, at := range []string{"m.safetensors", "m.gguf", "m.onnx", "m.bin.index.json", "w.pt"} {
		f := folder{at: strings.Repeat("x", 100)}
		for _, b := range []broken{{openError: syscall.EIO}, {readError: syscall.EIO}} {
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

func TestThatANamedFileCannotBeLookedForIsAnError(t *testing.T) {
	f := folder{"m.bin.index.json": index("gone.bin")}
	_, err := Check(t.Context(), blind{f.fs()}, f.list())
	require.ErrorIs(t, err, fs.ErrPermission)
}

// blind is a folder in which nothing can be looked for.
type blind struct{ fstest.MapFS }

func (blind) Stat(name string) (fs.FileInfo, error) {
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrPermission}
}

func TestAFileThatIsThereAndNotListedIsThere(t *testing.T) {
	f := folder{"m.bin.index.json": index("linked/1.bin"), "linked/1.bin": "x"}
	got, err := Check(t.Context(), f.fs(), []File{{Path: "m.bin.index.json", Size: int64(len(f["m.bin.index.json"]))}})
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Check(ctx, folder{}.fs(), []File{{Path: "a"}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestAFileOfEndlessValuesIsNotUnderstood(t *testing.T) {
	r := newReader(t.Context(), bytes.NewReader(make([]byte, 100)), 100)
	r.values = maxValues
	_, err := r.bytes(1)
	require.ErrorIs(t, err, errNotUnderstood)
}

// fuzz gives a format hostile files, whole and cut short, under a name.
func fuzz(f *testing.F, name string, seeds ...[]byte) {
	f.Helper()
	for _, seed := range seeds {
		f.Add(seed)
		f.Add(seed[:len(seed)/2])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		files := folder{name: string(content)}
		got, err := Check(t.Context(), files.fs(), files.list())
		if err != nil {
			// A name that is found in a file may be none that can be looked for.
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
	fuzz(f, "m.onnx", onnx(inside(10)), onnx(outside("location", "m.data", "offset", "8", "length", "-4"), outside("location", "a/../../b")))
}

func FuzzIndex(f *testing.F) {
	fuzz(f, "m.bin.index.json", []byte(index("1.bin", "../2.bin", "\x00")), []byte(`{"weight_map": {"a": 1}}`))
}
