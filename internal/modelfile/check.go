package modelfile

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// File is one file of a model's directory.
type File struct {
	// Path is relative to the model's directory, with slashes.
	Path string
	// Size is the size in bytes.
	Size int64
}

// Check returns a message that names which files are missing or corrupted and what
// to do about it, or "" if no problem is found. files are all files of the
// directory. Files that these refer to are looked up in dir, whose opened files
// must implement io.ReaderAt. An error is one of reading, and an *fs.PathError.
func Check(ctx context.Context, dir fs.FS, files []File) (string, error) {
	c := checker{dir: dir, sizes: make(map[string]int64, len(files)), checkedSplits: map[string]bool{}}
	for _, file := range files {
		c.sizes[file.Path] = file.Size
	}
	c.files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, file := range c.files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if isHidden(file.Path) {
			continue
		}
		if err := c.check(ctx, file); err != nil {
			return "", err
		}
	}
	return c.problems.message(), nil
}

type checker struct {
	dir      fs.FS
	files    []File
	sizes    map[string]int64
	problems problems
	// checkedSplits are the split GGUF models that were checked.
	checkedSplits map[string]bool
}

// formats maps the extensions of files with weights to the functions that check
// their headers; nil if only an empty file is certainly wrong.
var formats = map[string]func(c *checker, file File, r *reader) error{
	".safetensors": func(_ *checker, _ File, r *reader) error { return checkSafetensors(r) },
	".gguf":        func(_ *checker, _ File, r *reader) error { return checkGGUF(r) },
	".onnx":        (*checker).checkONNX,
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

// hasWeights reports whether a file with this name contains weights. For .bin, only
// the names that Hugging Face's libraries use are conclusive; OpenVINO's .bin files
// may be empty.
func hasWeights(name string) bool {
	_, known := formats[extension(name)]
	return known || extension(name) == ".bin" && strings.Contains(path.Base(name), "pytorch_model")
}

func extension(name string) string { return strings.ToLower(path.Ext(name)) }

func isHidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

func (c *checker) check(ctx context.Context, file File) error {
	if isIndex(file.Path) {
		return c.read(ctx, file, c.checkIndex)
	}
	c.checkSplit(file.Path)
	weights := hasWeights(file.Path)
	switch {
	case weights && file.Size == 0:
		c.problems.add("%s is empty", displayName(file.Path))
	case weights || mayBePointer(file):
		return c.read(ctx, file, c.checkContent)
	}
	return nil
}

func (c *checker) checkContent(file File, r *reader) error {
	if err := checkPointer(r); err != nil {
		return err
	}
	check := formats[extension(file.Path)]
	if check == nil {
		return nil
	}
	return check(c, file, r.restart())
}

// read runs a check on a file and records the defect that it found.
func (c *checker) read(ctx context.Context, file File, check func(file File, r *reader) error) error {
	opened, err := c.dir.Open(file.Path)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	content, ok := opened.(io.ReaderAt)
	if !ok {
		return &fs.PathError{Op: "read", Path: file.Path, Err: errors.ErrUnsupported}
	}
	err = check(file, newReader(ctx, pathReader{ReaderAt: content, path: file.Path}, file.Size))
	var found defect
	switch {
	case errors.As(err, &found):
		c.problems.add("%s %s", displayName(file.Path), found)
		return nil
	case errors.Is(err, errUnsupported):
		return nil
	}
	return err
}

// pathReader adds the file's path to read errors.
type pathReader struct {
	io.ReaderAt
	path string
}

func (r pathReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &fs.PathError{Op: "read", Path: r.path, Err: err}
	}
	return n, err
}
