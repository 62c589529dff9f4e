package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/modelfile"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// CheckComplete checks, as far as the files' headers show, that no file of the
// model is missing or truncated. The error is a *failure.Error.
func CheckComplete(ctx context.Context, root *os.Root, plan layer.Plan) error {
	dir := plannedDir{root: root, files: map[string]layer.Entry{}}
	var files []modelfile.File
	for _, entry := range plan.Entries() {
		file, isFile, err := dir.fileOf(entry)
		if err != nil {
			return err
		}
		if isFile {
			files = append(files, file)
		}
	}
	problem, err := modelfile.Check(ctx, dir, files)
	if err != nil {
		return ofRead(err)
	}
	if problem != "" {
		return failure.New(v1alpha1.ReasonSourceIncomplete, "%s, then retry", problem)
	}
	return nil
}

// plannedDir is the model's directory, restricted to the planned files.
type plannedDir struct {
	root  *os.Root
	files map[string]layer.Entry
}

// fileOf returns the file that an entry is or links to.
func (f plannedDir) fileOf(entry layer.Entry) (modelfile.File, bool, error) {
	switch entry.Type {
	case layer.File:
		f.files[entry.Path] = entry
		return modelfile.File{Path: entry.Path, Size: entry.Size}, true, nil
	case layer.Symlink:
		info, err := f.Stat(entry.Path)
		if err != nil {
			return modelfile.File{}, false, cannotRead(entry.Path, err)
		}
		return modelfile.File{Path: entry.Path, Size: info.Size()}, info.Mode().IsRegular(), nil
	default:
		return modelfile.File{}, false, nil
	}
}

// Open opens a file. A planned file that changed is an error.
func (f plannedDir) Open(name string) (fs.File, error) {
	file, err := f.root.OpenFile(name, openNonBlocking, 0)
	if err != nil {
		return nil, cannotRead(name, err)
	}
	if entry, planned := f.files[name]; planned {
		if err := checkPlanned(file, entry); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return file, nil
}

// Stat follows symbolic links, whose targets are packaged too.
func (f plannedDir) Stat(name string) (fs.FileInfo, error) { return f.root.Stat(name) }

// ofRead returns an error that occurred while reading a file as a failure.
func ofRead(err error) error {
	var failed *failure.Error
	var pathError *fs.PathError
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.As(err, &pathError):
		return cannotRead(pathError.Path, pathError.Err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Changing(layer.RootDir)
	}
	return err
}
