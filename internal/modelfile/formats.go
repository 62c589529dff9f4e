package modelfile

import (
	"path"
	"strings"
)

// contentCheck checks the content of a file. It returns a defect, errUnsupported or an
// error of reading.
type contentCheck func(c *checker, file File, r *reader) error

// of returns a check that needs no other file.
func of(check func(r *reader) error) contentCheck {
	return func(_ *checker, _ File, r *reader) error { return check(r) }
}

// weightFormats are the extensions of files with weights, which are never empty.
var weightFormats = map[string]bool{
	".ckpt": true, ".gguf": true, ".h5": true, ".hdf5": true, ".keras": true, ".mar": true, ".mpk": true,
	".msgpack": true, ".npy": true, ".npz": true, ".onnx": true, ".pdparams": true, ".pt": true, ".pth": true,
	".safetensors": true, ".tflite": true,
}

// checksOfFormats maps extensions to the checks of content.
var checksOfFormats = map[string]contentCheck{
	".bin":         of(checkZip),
	".ckpt":        of(checkZip),
	".gguf":        of(checkGGUF),
	".h5":          of(checkHDF5),
	".hdf5":        of(checkHDF5),
	".keras":       of(checkZip),
	".mar":         of(checkZip),
	".mpk":         of(checkMsgpack),
	".msgpack":     of(checkMsgpack),
	".npy":         of(checkNumpy),
	".npz":         of(checkZip),
	".onnx":        (*checker).checkONNX,
	".pickle":      of(checkPickle),
	".pkl":         of(checkPickle),
	".pt":          of(checkZip),
	".pt2":         of(checkZip),
	".pth":         of(checkZip),
	".ptl":         of(checkZip),
	".safetensors": of(checkSafetensors),
	".task":        of(checkZip),
	".tflite":      of(checkTFLite),
	".xml":         (*checker).checkOpenVINO,
	".zip":         of(checkZip),
}

// checksOfNames maps the names of files to the checks of content. The texts are those
// that Hugging Face's libraries read.
var checksOfNames = map[string]contentCheck{
	savedModel:                 (*checker).checkSavedModel,
	"adapter_config.json":      of(checkJSON),
	"added_tokens.json":        of(checkJSON),
	"config.json":              of(checkJSON),
	"generation_config.json":   of(checkJSON),
	"preprocessor_config.json": of(checkJSON),
	"special_tokens_map.json":  of(checkJSON),
	"tokenizer.json":           of(checkJSON),
	"tokenizer_config.json":    of(checkJSON),
	"vocab.json":               of(checkJSON),
}

// checkFor returns the check of the content of a file, or nil.
func checkFor(name string) contentCheck {
	if isList(name) {
		return (*checker).checkIndex
	}
	if check := checksOfNames[path.Base(name)]; check != nil {
		return check
	}
	return checksOfFormats[extension(name)]
}

// hasWeights reports whether a file with this name contains weights. For .bin, only
// the names that Hugging Face's libraries use are conclusive; OpenVINO's .bin files
// may be empty.
func hasWeights(name string) bool {
	base := path.Base(name)
	if extension(name) == ".bin" {
		return strings.Contains(base, "pytorch_model") || base == "adapter_model.bin"
	}
	return base == savedModel || weightFormats[extension(name)] && !isPythonPath(name)
}

// isPythonPath reports whether a .pth file configures Python, and may be empty
// (https://docs.python.org/3/library/site.html).
func isPythonPath(name string) bool {
	dir := path.Base(path.Dir(name))
	return extension(name) == ".pth" && (dir == "site-packages" || dir == "dist-packages")
}

func extension(name string) string { return strings.ToLower(path.Ext(name)) }

func isHidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}
