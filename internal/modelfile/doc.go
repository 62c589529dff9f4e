// Package modelfile checks whether the files of a model are complete, from their
// names, their sizes and their headers, without reading the weights.
//
// Only what is certainly missing or corrupted is reported. An unknown format,
// version or type passes, and so does everything that a tool keeps below a name
// with a leading dot: Hugging Face's cache, for example, has empty files in
// .no_exist on purpose, and macOS leaves a ._model.safetensors beside each
// model.safetensors.
package modelfile
