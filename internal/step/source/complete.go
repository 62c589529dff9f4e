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

// CheckComplete says whether the planned files are all of the model, and whole,
// as far as their headers tell. The error is a *failure.Error.
func CheckComplete(ctx context.Context, root *os.Root, plan layer.Plan) error {
	folder := plannedFolder{root: root, files: map[string]layer.Entry{}}
	var files []modelfile.File
	for _, entry := range plan.Entries() {
		file, isFile, err := folder.fileOf(entry)
		if err != nil {
			return err
		}
		if isFile {
			files = append(files, file)
		}
	}
	problem, err := modelfile.Check(ctx, folder, files)
	if err != nil {
		return ofReading(err)
	}
	if problem != "" {
		return failure.New(v1alpha1.ReasonSourceIncomplete, "%s, then retry", problem)
	}
	return nil
}

// plannedFolder is the model's folder for those who read only what was planned.
type plannedFolder struct {
	root  *os.Root
	files map[string]layer.Entry
}

// fileOf returns the file that an entry is or leads to.
func (f plannedFolder) fileOf(entry layer.Entry) (modelfile.File, bool, error) {
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

// Open opens a file and, if it was planned, no other one than that.
func (f plannedFolder) Open(name string) (fs.File, error) {
	file, err := f.root.OpenFile(name, openWithoutWaiting, 0)
	if err != nil {
		return nil, cannotRead(name, err)
	}
	if entry, planned := f.files[name]; planned {
		if err := asPlanned(file, entry); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return file, nil
}

// Stat follows symbolic links, which lead to something packaged.
func (f plannedFolder) Stat(name string) (fs.FileInfo, error) { return f.root.Stat(name) }

// ofReading returns the failure that an error of reading a file is.
func ofReading(err error) error {
	var failed *failure.Error
	var at *fs.PathError
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.As(err, &at):
		return cannotRead(at.Path, at.Err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Changing(layer.RootDir)
	}
	return err
}
