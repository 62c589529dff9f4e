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
	c := checker{dir: dir, sizes: make(map[string]int64, len(files)), listed: map[string]bool{}}
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
	// What these mean depends on the indexes.
	c.checkPointers()
	c.checkSplits()
	return c.problems.message(), nil
}

type checker struct {
	dir      fs.FS
	files    []File
	sizes    map[string]int64
	problems problems
	// pointers are the files that are pointers of Git LFS.
	pointers []string
	// listed are the files that an index lists, of which some exist.
	listed map[string]bool
}

// formats maps the extensions of files with weights to the functions that check
// their headers; nil if only an empty file is certainly wrong.
var formats = map[string]func(c *checker, file File, r *reader) error{
	".safetensors": func(_ *checker, _ File, r *reader) error { return checkSafetensors(r) },
	".gguf":        func(_ *checker, _ File, r *reader) error { return checkGGUF(r) },
	".onnx":        (*checker).checkONNX,
	".bin":         checkOnly(checkZip),
	".ckpt":        checkOnly(checkZip),
	".h5":          checkOnly(checkHDF5),
	".hdf5":        checkOnly(checkHDF5),
	".keras":       checkOnly(checkZip),
	".mar":         checkOnly(checkZip),
	".msgpack":     nil,
	".npy":         checkOnly(checkNumpy),
	".npz":         checkOnly(checkZip),
	".pt":          checkOnly(checkZip),
	".pth":         checkOnly(checkZip),
	".tflite":      nil,
}

// checkOnly returns a check that needs no other file.
func checkOnly(check func(r *reader) error) func(c *checker, file File, r *reader) error {
	return func(_ *checker, _ File, r *reader) error { return check(r) }
}

// hasWeights reports whether a file with this name contains weights. For .bin, only
// the names that Hugging Face's libraries use are conclusive; OpenVINO's .bin files
// may be empty.
func hasWeights(name string) bool {
	_, known := formats[extension(name)]
	if extension(name) == ".bin" {
		return strings.Contains(path.Base(name), "pytorch_model") || path.Base(name) == "adapter_model.bin"
	}
	return known && !isPythonPath(name)
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

func (c *checker) check(ctx context.Context, file File) error {
	if isIndex(file.Path) {
		return c.read(ctx, file, c.checkIndex)
	}
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
	pointer, err := isPointer(r)
	if err != nil {
		return err
	}
	if pointer {
		c.pointers = append(c.pointers, file.Path)
		return nil
	}
	check := formats[extension(file.Path)]
	if check == nil || !hasWeights(file.Path) {
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
