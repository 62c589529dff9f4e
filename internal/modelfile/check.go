package modelfile

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
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
	c := newChecker(dir, files)
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
	if err := c.checkLists(); err != nil {
		return "", err
	}
	// What these mean depends on the lists.
	c.checkPointers()
	c.checkSplits()
	c.checkDownloads()
	return c.problems.message(), nil
}

type checker struct {
	dir fs.FS
	// files are in the order of their paths.
	files    []File
	sizes    map[string]int64
	weights  weights
	problems problems
	// pointers are the files that are pointers of Git LFS.
	pointers map[string]bool
	// lists are the files that refer to others, and names is how many bytes the names of
	// those have.
	lists []list
	names int
	// listed are the files that a list refers to, unless it means nothing.
	listed map[string]bool
	// wholeONNX are the ONNX models to which nothing is missing, and wholeVariants what
	// the names of their variants have in common.
	wholeONNX, wholeVariants map[string]bool
	// largest is the size of the largest file of each name, and strayBins are the
	// directories with a .bin file that belongs to no model of OpenVINO.
	largest   map[string]int64
	strayBins map[string]bool
}

func newChecker(dir fs.FS, files []File) *checker {
	c := &checker{
		dir:       dir,
		files:     slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) }),
		sizes:     make(map[string]int64, len(files)),
		weights:   weightsOf(files),
		pointers:  map[string]bool{},
		listed:    map[string]bool{},
		wholeONNX: map[string]bool{},
	}
	for _, file := range files {
		c.sizes[file.Path] = file.Size
	}
	return c
}

func (c *checker) check(ctx context.Context, file File) error {
	check := checkFor(file.Path)
	switch {
	case file.Size == 0 && hasWeights(file.Path):
		c.problems.add("%s is empty", displayName(file.Path))
	case file.Size == 0 && !isIndex(file.Path):
		// Tools leave empty files as placeholders.
	case check != nil || mayBePointer(file):
		return c.read(ctx, file, check)
	}
	return nil
}

// read opens a file and records the defect that its check finds.
func (c *checker) read(ctx context.Context, file File, check contentCheck) error {
	opened, err := c.dir.Open(file.Path)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	content, ok := opened.(io.ReaderAt)
	if !ok {
		return &fs.PathError{Op: "read", Path: file.Path, Err: errors.ErrUnsupported}
	}
	err = c.checkContent(file, newReader(ctx, pathReader{ReaderAt: content, path: file.Path}, file.Size), check)
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

func (c *checker) checkContent(file File, r *reader, check contentCheck) error {
	pointer, err := isPointer(r)
	if err != nil {
		return err
	}
	if pointer {
		c.pointers[file.Path] = true
		return nil
	}
	if check == nil {
		return nil
	}
	r.seek(0)
	return check(c, file, r)
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
