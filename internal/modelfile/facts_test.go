package modelfile

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func readFacts(t *testing.T, f model) Facts {
	t.Helper()
	found, err := ReadFacts(t.Context(), f.fs(), f.list())
	require.NoError(t, err)
	for _, fact := range found.Facts {
		assert.Equal(t, v1alpha1.FileFact, fact.Origin)
		assert.Contains(t, f, fact.Source)
	}
	return found
}

// lines returns facts as KIND|NAME|URI|VALUE|DATASET.
func lines(facts []v1alpha1.LineageFact) []string {
	var all []string
	for _, f := range facts {
		all = append(all, strings.Join([]string{string(f.Kind), f.Name, f.URI, f.Value, f.Dataset}, "|"))
	}
	return all
}

const card = `---
license: apache-2.0
language: [en, "no"]
datasets:
  - acme/faces
  - squad
base_model: meta-llama/Llama-3.1-8B
pipeline_tag: text-generation
model-index:
  - name: faces
    results:
      - task: {type: text-classification}
        dataset: {name: Faces test, type: acme/faces}
        metrics:
          - {type: accuracy, value: 0.913}
          - {type: f1, name: F1 (macro), value: 0.9}
---
# Faces
`

// generalGGUF returns a model with general metadata, a vocabulary, and no tensors.
func generalGGUF(words int) string {
	g := newGGUF(binary.LittleEndian, 0, 13)
	text := func(key, value string) { g.string(key).uint32(ggufString).string(value) }
	text("general.architecture", "llama")
	text("general.name", "Faces")
	text("general.license", "other")
	text("general.license.name", "llama3.1")
	text("general.license.link", "https://example.com/LICENSE")
	g.string("general.base_model.count").uint32(ggufUint32, 1)
	text("general.base_model.0.name", "Llama 3.1 8B")
	text("general.base_model.0.repo_url", "https://huggingface.co/meta-llama/Llama-3.1-8B")
	text("general.dataset.0.url", "https://ann:secret@data.example.com/faces")
	g.string("general.languages").uint32(ggufArray, ggufString).uint64(2).string("en").string("de")
	g.string("general.sampling.top_p").uint32(6, 0)
	g.string("general.file_type").uint32(ggufUint32, 15)
	g.string("tokenizer.ggml.tokens").uint32(ggufArray, ggufString).uint64(uint64(words))
	for range words {
		g.string("a word")
	}
	return g.String()
}

// onnxWith returns a model with metadata after its graph.
func onnxWith(pairs ...string) string {
	m := message(onnx(internal(100_000)))
	for i := 0; i < len(pairs); i += 2 {
		m = m.bytes(modelMetadata, message{}.bytes(entryKey, []byte(pairs[i])).bytes(entryValue, []byte(pairs[i+1])))
	}
	return string(m)
}

func safetensorsWith(metadata string) string {
	return string(safetensorsOf(`{"__metadata__":`+metadata+`,"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1))
}

func TestReadFacts(t *testing.T) {
	tests := map[string]struct {
		files model
		want  []string
	}{
		"a model card": {
			model{"README.md": card},
			[]string{
				"License|||apache-2.0|",
				"BaseModel|meta-llama/Llama-3.1-8B|hf://meta-llama/Llama-3.1-8B||",
				"Dataset|acme/faces|hf://datasets/acme/faces||", "Dataset|squad|hf://datasets/squad||",
				"Property|language||en, no|", "Property|task||text-generation|",
				"Metric|accuracy||0.913|Faces test", "Metric|F1 (macro)||0.9|Faces test",
			},
		},
		"a model card of Windows": {
			model{"README.md": "\ufeff---\r\nlicense: mit\r\n--- \r\ntext"}, []string{"License|||mit|"},
		},
		"a model card after empty lines": {model{"README.md": "\n \r\n---\nlicense: mit\n---\n"}, []string{"License|||mit|"}},
		"a license of its own, and a base model in a directory": {
			model{"README.md": "---\nlicense: other\nlicense_name: acme-1\nlicense_link: https://example.com/L\nbase_model: [./base, null, {a: b}]\n---\n"},
			[]string{"License||https://example.com/L|acme-1|", "BaseModel|./base|||"},
		},
		"a model card without facts": {
			model{"README.md": "---\nlicense:\ntags: [a]\nmodel-index: [{results: [{metrics: [{type: a}]}]}]\n---\n"}, nil,
		},
		"a README without front matter":    {model{"README.md": "# Faces\n---\nlicense: mit\n---\n"}, nil},
		"placeholders of a template":       {model{"README.md": "---\nlicense: \"{{ license }}\"\nlanguage: en\n---\n"}, []string{"Property|language||en|"}},
		"a template as the name of a file": {model{"{{workflow.uid}}.gguf": generalGGUF(2), "config.json": `{"dtype": "f16"}`}, []string{"Property|dtype||f16|"}},
		"a configuration": {
			model{"config.json": `{"architectures": ["LlamaForCausalLM"], "rope": {"dtype": "x"}, "model_type": "llama", "torch_dtype": "bfloat16",
				"eps": NaN, "_name_or_path": "/out/checkpoint-3", "transformers_version": "4.51.0", "dtype": null}`},
			[]string{
				"Property|architecture||LlamaForCausalLM|", "Property|model-type||llama|", "Property|dtype||bfloat16|",
				"Property|name-or-path||/out/checkpoint-3|", "Property|transformers-version||4.51.0|",
			},
		},
		"a configuration of other types": {model{"config.json": `{"architectures": {"a": 1}, "model_type": 7, "dtype": [1]}`}, nil},
		"an adapter":                     {model{"adapter_config.json": `{"peft_type": "LORA", "base_model_name_or_path": "acme/base"}`}, []string{"BaseModel|acme/base|||"}},
		"MLflow": {
			model{"MLmodel": "artifact_path: model\nflavors:\n  python_function: {env: {conda: conda.yaml}}\nrun_id: 5f1c\nsignature:\n  inputs: '[{\"name\": \"x\"}]'\n"},
			[]string{"Run|5f1c|||"},
		},
		"GGUF": {
			model{"m.gguf": generalGGUF(2)},
			[]string{
				"License||https://example.com/LICENSE|llama3.1|",
				"BaseModel|Llama 3.1 8B|https://huggingface.co/meta-llama/Llama-3.1-8B||",
				"Dataset||https://data.example.com/faces||",
				"Property|name||Faces|", "Property|architecture||llama|", "Property|language||en, de|", "Property|quantization||Q4_K_M|",
			},
		},
		"safetensors": {
			model{"m.safetensors": safetensorsWith(`{"format":"pt","modelspec.license":"mit","modelspec.title":"Faces","base_model":"acme/base","secret":"x"}`)},
			[]string{"License|||mit|", "BaseModel|acme/base|||", "Property|name||Faces|", "Property|format||pt|"},
		},
		"ONNX": {
			model{"m.onnx": onnxWith("names", strings.Repeat("x", maxString+1), "task", "detect", "license", "AGPL-3.0", "run_id", "5f1c", "stride", "32")},
			[]string{"License|||AGPL-3.0|", "Run|5f1c|||", "Property|task||detect|"},
		},
		"the first file of a format": {
			model{"b.safetensors": safetensorsWith(`{"format":"b"}`), "a.safetensors": safetensorsWith(`{"format":"a"}`), ".c.safetensors": safetensorsWith(`{"format":"c"}`), "a": ""},
			[]string{"Property|format||a|"},
		},
		"files in directories, and empty ones": {model{"onnx/README.md": card, "sub/m.gguf": generalGGUF(1), "readme.md": card, "README.md": "", "config.json": ""}, nil},
		"metrics come last": {
			model{"README.md": "---\nmodel-index: [{results: [{metrics: [{type: a, value: 1}]}]}]\n---\n", "MLmodel": "run_id: r"},
			[]string{"Run|r|||", "Metric|a||1|"},
		},
		"an alias stands for nothing": {model{"README.md": "---\na: &a [en, de]\nlanguage: *a\nlicense: mit\n---\n"}, []string{"License|||mit|"}},
		"what is not visible":         {model{"README.md": "---\nlicense: \"m\\u202eit\\0\\e[31m\\n\"\n---\n"}, []string{"License|||m it [31m|"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := readFacts(t, tt.files)
			assert.Equal(t, tt.want, lines(got.Facts))
			assert.Empty(t, got.Unread)
			assert.Zero(t, got.Omitted)
		})
	}
}

func TestReadFactsOfBrokenFiles(t *testing.T) {
	long := strings.Repeat("x", maxYAML)
	tests := map[string]struct{ file, content, want string }{
		"front matter that is no YAML":          {"README.md", "---\nlicense: [mit\n---\n", "README.md is not YAML: yaml: line"},
		"front matter without an end":           {"README.md", "---\nlicense: mit\n", "README.md has a front matter without an end"},
		"front matter of a megabyte":            {"README.md", "---\nlicense: mit\na: " + strings.Repeat(long, 4) + "\n---\n", "README.md has a front matter that does not end within 256 KiB"},
		"front matter that is a list":           {"README.md", "---\n- license: mit\n---\n", "README.md has YAML that is not a mapping"},
		"empty front matter":                    {"README.md", "---\n---\n", "README.md has YAML that is not a mapping"},
		"front matter with NUL":                 {"README.md", "---\nlicense: m\x00it\n---\n", "README.md is not YAML: yaml: control characters are not allowed"},
		"front matter that is not UTF-8":        {"README.md", "---\nlicense: m\xff\xfeit\n---\n", "README.md is not YAML: yaml: invalid"},
		"front matter with an unknown alias":    {"README.md", "---\nlicense: *a\n---\n", "README.md is not YAML: yaml: unknown anchor 'a' referenced"},
		"a text about MLflow that is no YAML":   {"MLmodel", "run_id: [", "MLmodel is not YAML: "},
		"a card with a key twice":               {"README.md", "---\nlicense: mit\nlanguage: en\nlicense: other\n---\n", `README.md has the key "license" twice`},
		"a large text about MLflow":             {"MLmodel", "run_id: " + long, "MLmodel has more than 256 KiB"},
		"a configuration that is cut":           {"config.json", `{"model_type": "llama", "a`, "config.json is not JSON"},
		"a configuration that is a list":        {"config.json", `["llama"]`, "config.json is not in the format that its name says"},
		"a large configuration":                 {"config.json", `{"a": "` + strings.Repeat(long, 4) + `"}`, "config.json has more than 1024 KiB"},
		"an adapter that is binary":             {"adapter_config.json", "\x80\x02}", "adapter_config.json is not JSON"},
		"GGUF that is cut":                      {"m.gguf", generalGGUF(2)[:200], "m.gguf is truncated: it ends in the middle of a value"},
		"GGUF of another version":               {"m.gguf", "GGUF\x01\x00\x00\x00" + strings.Repeat("\x00", 16), "m.gguf is not in the format that its name says"},
		"no GGUF":                               {"m.gguf", strings.Repeat("x", 100), "m.gguf is corrupted: it does not start with GGUF"},
		"safetensors whose header is no JSON":   {"m.safetensors", string(safetensorsOf(`{"__metadata__":{"format":"pt"`, 0)), "m.safetensors is not JSON"},
		"safetensors with too long a header":    {"m.safetensors", strings.Repeat("\xff", 100), "m.safetensors is not in the format that its name says"},
		"ONNX that is text":                     {"m.onnx", "version https://git-lfs", "m.onnx is not in the format that its name says"},
		"ONNX whose metadata is something else": {"m.onnx", onnxWith()[:30] + "\x00\x00", "m.onnx is truncated"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := readFacts(t, model{tt.file: tt.content})
			assert.Empty(t, got.Facts)
			require.Len(t, got.Unread, 1)
			assert.Contains(t, got.Unread[0], tt.want)
			assert.Less(t, len(got.Unread[0]), 300)
		})
	}
}

// A broken file does not keep the others from being read.
func TestReadFactsBesideBrokenFile(t *testing.T) {
	got := readFacts(t, model{"README.md": "---\n[\n---\n", "MLmodel": "run_id: r", "\u202e.gguf": "x"})
	assert.Equal(t, []string{"Run|r|||"}, lines(got.Facts))
	assert.Len(t, got.Unread, 2)
	assert.NotContains(t, got.Unread[1], "\u202e")
}

func TestReadFactsLimitsFacts(t *testing.T) {
	var metrics, datasets, bases strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&metrics, "{type: m%d, value: %d}, ", i, i)
		fmt.Fprintf(&datasets, "d%d, ", i)
		fmt.Fprintf(&bases, "%s%d, ", strings.Repeat("ä", 40), i)
	}
	got := readFacts(t, model{"README.md": "---\nlicense: " + strings.Repeat("模", 1000) + "\ndatasets: [" + datasets.String() + "]\nbase_model: [" + bases.String() +
		"]\nlanguage: [" + strings.Repeat("en, ", 5000) + "]\nmodel-index: [{results: [{metrics: [" + metrics.String() + "]}]}]\n---\n"})
	require.Empty(t, got.Unread)
	assert.Len(t, got.Facts, 48)
	assert.Equal(t, int64(3000-48+2), got.Omitted)
	kinds := map[v1alpha1.LineageKind]int{}
	for _, fact := range got.Facts {
		kinds[fact.Kind]++
		for _, value := range []string{fact.Name, fact.Value} {
			assert.LessOrEqual(t, len([]rune(value)), 256)
			assert.Equal(t, -1, strings.IndexFunc(value, func(r rune) bool { return !unicode.IsGraphic(r) }))
		}
	}
	assert.Equal(t, map[v1alpha1.LineageKind]int{"License": 1, "BaseModel": 16, "Dataset": 16, "Property": 1, "Metric": 14}, kinds)
}

// Each of these is read in time and memory that are linear in its size: a fraction of a
// second. A parser that is not takes minutes.
func TestReadFactsOfHostileFiles(t *testing.T) {
	front := func(unit string) string {
		return "---\n" + strings.Repeat(unit, (maxYAML-10)/len(unit)) + "\n---\n"
	}
	var bomb strings.Builder
	bomb.WriteString("---\na0: &a0 [x, x]\n")
	for i := range 1000 {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 10))
	}
	bomb.WriteString("license: *a1000\nlanguage: en\n---\n")
	tests := map[string]model{
		"aliases of aliases":        {"README.md": bomb.String()},
		"nested lists":              {"README.md": front("[")},
		"nested lists in lines":     {"README.md": front("- ")},
		"nested keys":               {"README.md": front("? ")},
		"nested mappings":           {"README.md": front("{a: ")},
		"keys":                      {"README.md": front("a: b\n")},
		"keys without a value":      {"README.md": front("a\n")},
		"anchors":                   {"README.md": front("&a ")},
		"tags":                      {"README.md": front("!a ")},
		"comments":                  {"README.md": front("#\n")},
		"comments of keys":          {"README.md": front("a: # b\n")},
		"comments after items":      {"README.md": front("- a\n#\n")},
		"quotes":                    {"README.md": front(`"`)},
		"escapes":                   {"README.md": "---\na: \"" + strings.Repeat(`\x`, 100_000) + "\n---\n"},
		"a long key":                {"README.md": "---\n" + strings.Repeat("a", 250_000) + ": b\n---\n"},
		"a long number":             {"README.md": "---\nlicense: " + strings.Repeat("9", 250_000) + "\n---\n"},
		"block text":                {"README.md": "---\na: |\n" + strings.Repeat(" \n", 120_000) + "---\n"},
		"indentation":               {"README.md": "---\n" + strings.Repeat(strings.Repeat(" ", 500)+"a:\n", 500) + "---\n"},
		"commas":                    {"README.md": "---\na: [" + strings.Repeat(",", 250_000) + "]\n---\n"},
		"lines of fences":           {"README.md": "---\n" + strings.Repeat("----\n", 50_000)},
		"documents":                 {"MLmodel": strings.Repeat("--- a\n", 40_000)},
		"directives":                {"MLmodel": strings.Repeat("%TAG ! a\n", 28_000)},
		"nested JSON":               {"config.json": strings.Repeat("[", maxMetadata)},
		"nested JSON in a member":   {"config.json": `{"dtype": ` + strings.Repeat("[", maxMetadata-20)},
		"members":                   {"config.json": "{" + strings.Repeat(`"dtype":"",`, maxMetadata/11-1) + `"a":1}`},
		"elements":                  {"config.json": `{"architectures": [` + strings.Repeat(`"",`, maxMetadata/3-20) + `""]}`},
		"GGUF of empty texts":       {"m.gguf": newGGUF(binary.LittleEndian, 0, 1).string("general.languages").uint32(ggufArray, ggufString).uint64(1<<40).String() + strings.Repeat("\x00", 2*maxMetadata)},
		"GGUF of lists of nothing":  {"m.gguf": newGGUF(binary.LittleEndian, 0, 1).string("x").uint32(ggufArray, ggufArray).uint64(1<<40).String() + strings.Repeat("\x00", 2*maxMetadata)},
		"a long header of a tensor": {"m.safetensors": string(safetensorsOf(`{"w":`+strings.Repeat("[", 2*maxMetadata), 0))},
		"many tensors":              {"m.safetensors": string(safetensorsWithTensors(100_000))},
		"ONNX of empty metadata":    {"m.onnx": onnxWith() + strings.Repeat(string(message{}.bytes(modelMetadata, nil)), maxMetadata)},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := readFacts(t, files)
			assert.Less(t, time.Since(start), 20*time.Second)
			assert.LessOrEqual(t, len(got.Facts), 48)
		})
	}
	assert.Equal(t, []string{"Property|language||en|"}, lines(readFacts(t, tests["aliases of aliases"]).Facts))
}

// Over an object store, each read is a request.
func TestReadFactsReadsLittle(t *testing.T) {
	files := model{
		"README.md": card + strings.Repeat("text ", 1<<20), "config.json": `{"a": "` + strings.Repeat("x", maxMetadata/2) + `"}`, "m.gguf": generalGGUF(300_000),
		"m.safetensors": string(safetensorsWithTensors(50_000)), "m.onnx": onnxWith("task", "detect") + strings.Repeat(string(message{}.bytes(modelMetadata, nil)), 1<<20),
	}
	counted := &countingFS{FS: files.fs(), reads: map[string]int{}}
	got, err := ReadFacts(t.Context(), counted, files.list())
	require.NoError(t, err)
	assert.Empty(t, got.Unread)
	assert.Contains(t, lines(got.Facts), "Property|quantization||Q4_K_M|", "it is before the vocabulary")
	assert.Contains(t, lines(got.Facts), "Property|task||detect|")
	require.Len(t, counted.reads, len(files))
	for name, reads := range counted.reads {
		assert.LessOrEqual(t, reads, 4, name)
	}
}

func TestReadFactsReturnsReadErrors(t *testing.T) {
	for _, at := range []string{"README.md", "MLmodel", "config.json", "adapter_config.json", "m.gguf", "m.onnx", "m.safetensors"} {
		t.Run(at, func(t *testing.T) {
			f := model{at: strings.Repeat("x", 2000)}
			for _, b := range []failingFS{{openError: syscall.EIO}, {readError: syscall.EIO}} {
				b.FS = f.fs()
				_, err := ReadFacts(t.Context(), b, f.list())
				var pathError *fs.PathError
				require.ErrorAs(t, err, &pathError)
				assert.Equal(t, at, pathError.Path)
			}
			shrunk := fstest.MapFS{at: &fstest.MapFile{Data: []byte("---\n")}}
			_, err := ReadFacts(t.Context(), shrunk, []File{{Path: at, Size: 2000}})
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	}
}

// What was read before an error counts.
func TestReadFactsKeepsFactsBeforeAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := model{"README.md": card, "config.json": `{"model_type": "llama"}`}
	got, err := ReadFacts(ctx, cancellingFS{f.fs(), "config.json", cancel}, f.list())
	require.ErrorIs(t, err, context.Canceled)
	assert.Len(t, got.Facts, 8)
}

// cancellingFS ends a context when a file is opened.
type cancellingFS struct {
	fs.FS
	at     string
	cancel context.CancelFunc
}

func (c cancellingFS) Open(name string) (fs.File, error) {
	if name == c.at {
		c.cancel()
	}
	return c.FS.Open(name)
}

func TestStatesFacts(t *testing.T) {
	for name, want := range map[string]bool{
		"README.md": true, "config.json": true, "adapter_config.json": true, "MLmodel": true, "m.gguf": true, "M.GGUF": true, "m.onnx": true, "m.safetensors": true,
		"readme.txt": false, "docs/README.md": false, "a/m.gguf": false, ".m.gguf": false, "tokenizer.json": false, "m.bin": false, "": false,
	} {
		assert.Equal(t, want, StatesFacts(name), name)
	}
}

// Whatever a file contains, its facts are few and short, and reading it does not fail.
func FuzzReadFacts(f *testing.F) {
	names := []string{"README.md", "MLmodel", "config.json", "adapter_config.json", "m.gguf", "m.onnx", "m.safetensors"}
	for i, seed := range []string{
		card, "run_id: 5f1c", `{"architectures": ["A"], "dtype": NaN}`, `{"base_model_name_or_path": "acme/base"}`, generalGGUF(2), onnxWith("task", "detect"),
		safetensorsWith(`{"format":"pt"}`),
	} {
		f.Add(uint8(i), []byte(seed))
		f.Add(uint8(i), []byte(seed[:len(seed)/2]))
	}
	f.Fuzz(func(t *testing.T, kind uint8, content []byte) {
		name := names[int(kind)%len(names)]
		got := readFacts(t, model{name: string(content)})
		assert.LessOrEqual(t, len(got.Facts), 48)
		assert.LessOrEqual(t, len(got.Unread), 1)
		for _, fact := range got.Facts {
			for _, value := range []string{fact.Name, fact.Value, fact.URI, fact.Dataset} {
				assert.LessOrEqual(t, len([]rune(value)), 512)
				assert.Equal(t, -1, strings.IndexFunc(value, func(r rune) bool { return !unicode.IsGraphic(r) }), "%q", value)
				assert.NotContains(t, value, "{{")
			}
		}
	})
}
