package source

import (
	"errors"
	"io"
	"io/fs"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// withIgnoreFile returns the patterns of a ModelVersion, and those in the content of a
// layer.IgnoreFile, which is nil if there is none.
func withIgnoreFile(patterns layer.Patterns, read func() ([]byte, error)) (layer.Patterns, error) {
	if _, err := layer.NewPatterns(patterns.Include, patterns.Exclude, nil); err != nil {
		return patterns, failure.New(v1alpha1.ReasonInvalidSpec, "%v", err)
	}
	content, err := read()
	if err != nil {
		return patterns, err
	}
	all, err := layer.NewPatterns(patterns.Include, patterns.Exclude, content)
	if err != nil {
		return patterns, failure.New(v1alpha1.ReasonSourceUnsafe, "%v", err)
	}
	return all, nil
}

// errNoIgnoreFile is the failure of a layer.IgnoreFile that cannot be read as a file, so
// that what it excludes would be packaged.
var errNoIgnoreFile = failure.New(v1alpha1.ReasonSourceUnsafe, "%s is not a file of the model's directory: replace it with one", layer.IgnoreFile)

// readIgnoreFile returns the content of the directory's layer.IgnoreFile, and one byte
// more than its maximum size at most, or nil if there is none.
func (d *Directory) readIgnoreFile() ([]byte, error) {
	at := d.at(layer.IgnoreFile)
	if _, err := d.root.Lstat(at); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	file, err := d.root.OpenFile(at, openNonBlocking, 0)
	if errors.Is(err, fs.ErrNotExist) || leadsOut(err) {
		return nil, errNoIgnoreFile
	}
	if err != nil {
		return nil, cannotRead(layer.IgnoreFile, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, cannotRead(layer.IgnoreFile, err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNoIgnoreFile
	}
	content, err := io.ReadAll(io.LimitReader(file, layer.MaxIgnoreFileSize+1))
	if err != nil {
		return nil, cannotRead(layer.IgnoreFile, err)
	}
	return content, nil
}
