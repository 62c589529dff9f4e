package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// Directory is the directory of a mounted volume that holds a model.
type Directory struct{ root *os.Root }

// NewDirectory returns the directory at root, and takes over closing it.
func NewDirectory(root *os.Root) *Directory { return &Directory{root: root} }

// Close closes the directory.
func (d *Directory) Close() error { return d.root.Close() }

// Open opens a planned file.
func (d *Directory) Open(ctx context.Context, planned layer.Entry, offset int64) (io.ReadCloser, error) {
	file, err := d.root.OpenFile(planned.Path, openNonBlocking, 0)
	if err != nil {
		return nil, cannotRead(planned.Path, err)
	}
	if err := checkPlanned(file, planned); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &fileReader{ctx: ctx, file: file, planned: planned, content: io.NewSectionReader(file, offset, planned.Size-offset)}, nil
}

// fileReader reads a planned file, and compares it with the plan at the end.
type fileReader struct {
	ctx     context.Context
	file    *os.File
	planned layer.Entry
	content io.Reader
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.content.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		if changed := checkPlanned(r.file, r.planned); changed != nil {
			return n, changed
		}
	case err != nil:
		err = cannotRead(r.planned.Path, err)
	}
	return n, err
}

func (r *fileReader) Close() error { return r.file.Close() }

// CheckLink checks that a symbolic link still matches the plan.
func (d *Directory) CheckLink(planned layer.Entry) error {
	info, err := d.root.Lstat(planned.Path)
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return Changing(planned.Path)
	}
	target, err := d.root.Readlink(planned.Path)
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if target != planned.Link {
		return Changing(planned.Path)
	}
	return nil
}

// FS returns the directory, in which a planned file that changed is an error.
func (d *Directory) FS(_ context.Context, plan layer.Plan) fs.FS {
	planned := plannedDir{root: d.root, files: map[string]layer.Entry{}}
	for _, entry := range plan.Entries() {
		if entry.Type == layer.File {
			planned.files[entry.Path] = entry
		}
	}
	return planned
}

// plannedDir is the model's directory, whose planned files are compared with the plan.
type plannedDir struct {
	root  *os.Root
	files map[string]layer.Entry
}

// Open opens a file.
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
