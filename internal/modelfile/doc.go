// Package modelfile checks whether the files of a model are complete, from their
// names, their sizes and their headers, without reading the weights.
//
// Only what is certainly missing or corrupted is reported. An unknown format,
// version or type passes, and so does everything that a tool keeps below a name
// with a leading dot: Hugging Face's cache, for example, has empty files in
// .no_exist on purpose, and macOS leaves a ._model.safetensors beside each
// model.safetensors.
//
// A check of a file takes bounded memory and time that is linear in the size of its
// header, and most take at most ten reads, since a read may be a request to an object
// store. Two take more for large files: a file of MessagePack has its headers between
// its weights, and a header or index of more than 50 MB takes one for each 8 MiB.
package modelfile
