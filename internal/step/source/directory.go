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
type Directory struct {
	// root is the directory or, if links are followed, the volume, which they never leave.
	root *os.Root
	// path is that of the directory in root; empty if it is root.
	path         string
	filter       layer.Filter
	followsLinks bool
}

// NewDirectory returns the directory at root, of which all files are packaged, and takes
// over closing it.
func NewDirectory(root *os.Root) *Directory { return &Directory{root: root} }

// at returns the path in root of a file of the directory.
func (d *Directory) at(name string) string {
	if d.path == "" {
		return name
	}
	// The path is not cleaned, because that would change the meaning of links in it.
	return d.path + "/" + name
}

// Close closes the directory.
func (d *Directory) Close() error { return d.root.Close() }

// Open opens a planned file.
func (d *Directory) Open(ctx context.Context, planned layer.Entry, offset int64) (io.ReadCloser, error) {
	file, err := d.root.OpenFile(d.at(planned.Path), openNonBlocking, 0)
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
	info, err := d.root.Lstat(d.at(planned.Path))
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return Changing(planned.Path)
	}
	target, err := d.root.Readlink(d.at(planned.Path))
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if target != planned.Link {
		return Changing(planned.Path)
	}
	return nil
}

// FS returns the planned files. One that changed is an error, and everything that is
// not planned does not exist.
func (d *Directory) FS(_ context.Context, plan layer.Plan) fs.FS {
	return plannedDir{dir: d, tree: layer.NewTree(plan.Entries())}
}

// plannedDir is a directory as it is planned.
type plannedDir struct {
	dir  *Directory
	tree layer.Tree
}

// Open opens a file.
func (f plannedDir) Open(name string) (fs.File, error) {
	entry, err := f.resolve("open", name)
	if err != nil {
		return nil, err
	}
	file, err := f.dir.root.OpenFile(f.dir.at(entry.Path), openNonBlocking, 0)
	if err != nil {
		return nil, cannotRead(name, err)
	}
	if entry.Type == layer.File {
		if err := checkPlanned(file, entry); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return file, nil
}

// Stat follows symbolic links, whose targets are packaged too.
func (f plannedDir) Stat(name string) (fs.FileInfo, error) {
	entry, err := f.resolve("stat", name)
	if err != nil {
		return nil, err
	}
	return f.dir.root.Stat(f.dir.at(entry.Path))
}

// resolve returns the planned entry that a path leads to.
func (f plannedDir) resolve(operation, name string) (layer.Entry, error) {
	entry, err := f.tree.Resolve(name)
	if err != nil {
		return entry, &fs.PathError{Op: operation, Path: name, Err: fs.ErrNotExist}
	}
	return entry, nil
}
