// Package modelfile says whether the files of a model are complete, from their
// names, their sizes and their headers, without reading the weights.
//
// Only what is certainly missing or damaged is a problem. A format, a version
// or a type that is not known here passes, and so does everything that a tool
// keeps for itself below a name with a leading dot: Hugging Face's cache, for
// one, holds empty files in .no_exist on purpose, and macOS leaves a
// ._model.safetensors beside each model.safetensors.
package modelfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// File is one file of a model's folder.
type File struct {
	// Path is relative to the model's folder, with slashes.
	Path string
	// Size is its size in bytes.
	Size int64
}

// Check says in words which files are missing or damaged and what to do, or ""
// when nothing is known to be wrong. Files are all files of the folder. What
// they name besides is looked for in the folder itself, and its opened files
// must be an io.ReaderAt. An error is of reading, and an *fs.PathError.
func Check(ctx context.Context, folder fs.FS, files []File) (string, error) {
	c := checker{folder: folder, sizes: make(map[string]int64, len(files)), seenSplits: map[string]bool{}}
	for _, file := range files {
		c.sizes[file.Path] = file.Size
	}
	c.files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, file := range c.files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if hidden(file.Path) {
			continue
		}
		if err := c.look(ctx, file); err != nil {
			return "", err
		}
	}
	return c.problems.sentence(), nil
}

type checker struct {
	folder   fs.FS
	files    []File
	sizes    map[string]int64
	problems problems
	// seenSplits are the models of several GGUF files that were looked at.
	seenSplits map[string]bool
}

// formats are the extensions of files that hold weights, and what reads their
// headers; nil where nothing but an empty file is certainly wrong.
var formats = map[string]func(c *checker, file File, r *reader) error{
	".safetensors": func(_ *checker, _ File, r *reader) error { return checkSafetensors(r) },
	".gguf":        func(_ *checker, _ File, r *reader) error { return checkGGUF(r) },
	".onnx":        (*checker).lookAtONNX,
	".ckpt":        nil,
	".h5":          nil,
	".keras":       nil,
	".msgpack":     nil,
	".npy":         nil,
	".npz":         nil,
	".pt":          nil,
	".pth":         nil,
	".tflite":      nil,
}

// holdsWeights says whether a file of that name holds weights. Only the names
// that Hugging Face's libraries give tell weights from any other .bin, and
// OpenVINO's may be empty.
func holdsWeights(name string) bool {
	_, known := formats[extension(name)]
	return known || extension(name) == ".bin" && strings.Contains(path.Base(name), "pytorch_model")
}

func extension(name string) string { return strings.ToLower(path.Ext(name)) }

func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

func (c *checker) look(ctx context.Context, file File) error {
	if isIndex(file.Path) {
		return c.read(ctx, file, c.lookAtIndex)
	}
	c.lookAtSplit(file.Path)
	weights := holdsWeights(file.Path)
	switch {
	case weights && file.Size == 0:
		c.problems.add("%s is empty", shown(file.Path))
	case weights || mayBePointer(file):
		return c.read(ctx, file, c.lookInside)
	}
	return nil
}

func (c *checker) lookInside(file File, r *reader) error {
	if err := checkPointer(r); err != nil {
		return err
	}
	check := formats[extension(file.Path)]
	if check == nil {
		return nil
	}
	return check(c, file, r.again())
}

// What a look at a file may end with besides an error of reading.
var (
	// errNotUnderstood ends the look at a file that is beyond this package.
	errNotUnderstood = errors.New("not understood")
	// errEnds says that a file ends before what it must hold.
	errEnds = damage("is cut short: it ends where more must follow")
)

// damage is what is wrong with a file, as the end of a sentence that begins
// with its name.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

func cutShort(size, want int64) error {
	return damaged("is cut short: it holds %d bytes, and its header speaks of %d", size, want)
}

// read looks at a file and keeps the damage that was found.
func (c *checker) read(ctx context.Context, file File, look func(file File, r *reader) error) error {
	opened, err := c.folder.Open(file.Path)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	at, ok := opened.(io.ReaderAt)
	if !ok {
		return &fs.PathError{Op: "read", Path: file.Path, Err: errors.ErrUnsupported}
	}
	err = look(file, newReader(ctx, named{ReaderAt: at, path: file.Path}, file.Size))
	var found damage
	switch {
	case errors.As(err, &found):
		c.problems.add("%s %s", shown(file.Path), found)
		return nil
	case errors.Is(err, errNotUnderstood):
		return nil
	}
	return err
}

// named says in its errors which file could not be read.
type named struct {
	io.ReaderAt
	path string
}

func (n named) ReadAt(into []byte, at int64) (int, error) {
	count, err := n.ReaderAt.ReadAt(into, at)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &fs.PathError{Op: "read", Path: n.path, Err: err}
	}
	return count, err
}

// maxNamed is how many files another one may name. More of them are not
// understood, so that little memory does.
const maxNamed = 10_000

// beside returns the path of a file that another one names, relative to the
// folder that it is in, or "" when that is nowhere in the model's folder.
func beside(file File, name string) string {
	at := path.Join(path.Dir(file.Path), name)
	if name == "" || path.IsAbs(name) || strings.Contains(name, `\`) || !fs.ValidPath(at) {
		return ""
	}
	return at
}

// find returns the size of a file that another one names.
func (c *checker) find(name string) (size int64, there bool, err error) {
	if size, there := c.sizes[name]; there {
		return size, true, nil
	}
	info, err := fs.Stat(c.folder, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return info.Size(), true, nil
}

// pointerStart is how the pointer begins that Git LFS leaves in a file's place,
// and maxPointer is more than it may hold
// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
const (
	pointerStart = "version https://git-lfs.github.com/spec/"
	maxPointer   = 1024
)

func mayBePointer(file File) bool {
	return extension(file.Path) == ".bin" && file.Size > 0 && file.Size < maxPointer
}

func checkPointer(r *reader) error {
	if r.size < int64(len(pointerStart)) || r.size >= maxPointer {
		return nil
	}
	start, err := r.bytes(len(pointerStart))
	if err != nil {
		return err
	}
	if string(start) == pointerStart {
		return damage("is a pointer of Git LFS and not the file itself, which git lfs pull fetches")
	}
	return nil
}
