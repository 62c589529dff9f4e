package source

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/modelfile"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// CheckComplete checks, as far as the files' headers show, that no file of the
// model is missing or truncated. The error is a *failure.Error.
func CheckComplete(ctx context.Context, files Files, plan layer.Plan) error {
	dir := files.FS(ctx, plan)
	var listed []modelfile.File
	for _, entry := range plan.Entries() {
		file, isFile, err := fileOf(dir, entry)
		if err != nil {
			return err
		}
		if isFile {
			listed = append(listed, file)
		}
	}
	problem, err := modelfile.Check(ctx, dir, listed)
	if err != nil {
		return ofRead(err)
	}
	if problem != "" {
		return failure.New(v1alpha1.ReasonSourceIncomplete, "%s, then retry", problem)
	}
	return nil
}

// fileOf returns the file that an entry is or links to.
func fileOf(dir fs.FS, entry layer.Entry) (modelfile.File, bool, error) {
	switch entry.Type {
	case layer.File:
		return modelfile.File{Path: entry.Path, Size: entry.Size}, true, nil
	case layer.Symlink:
		info, err := fs.Stat(dir, entry.Path)
		if err != nil {
			return modelfile.File{}, false, cannotRead(entry.Path, err)
		}
		return modelfile.File{Path: entry.Path, Size: info.Size()}, info.Mode().IsRegular(), nil
	default:
		return modelfile.File{}, false, nil
	}
}

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
