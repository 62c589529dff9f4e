package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// openNonBlocking keeps an open from blocking on a named pipe that replaced a
// file.
const openNonBlocking = os.O_RDONLY | syscall.O_NONBLOCK

// MaxEntries is the maximum number of files, directories and links of a model.
// For 200,000 files with paths of 230 characters each, mount-check was measured
// to use 334 MB, or 397 MB if it compares them with those of an image, of its
// limit of 512Mi; build used 534 MB beside Kaniko's 432, of their limit of 1Gi.
const MaxEntries = 200_000

// readDirBatch is how many entries of a directory are read before they are
// counted.
const readDirBatch = 10_000

// ErrTooMany is the failure of a model with more than MaxEntries.
var ErrTooMany = failure.New(v1alpha1.ReasonSourceUnsafe, "the model's directory has more than %d files and directories, the maximum of a build: put small files into archives, or split the model", MaxEntries)

// List opens every file, so that an unreadable one is found before anything is built.
func (d *Directory) List(ctx context.Context) ([]layer.SourceEntry, error) {
	info, err := d.root.Stat(layer.RootDir)
	if err != nil {
		return nil, cannotRead(layer.RootDir, err)
	}
	l := lister{root: d.root, left: MaxEntries, entries: []layer.SourceEntry{entryOf(layer.RootDir, info)}}
	if err := l.list(ctx, layer.RootDir); err != nil {
		return nil, err
	}
	return l.entries, nil
}

type lister struct {
	root *os.Root
	// left is how many more entries there may be.
	left    int
	entries []layer.SourceEntry
}

func (l *lister) list(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	children, err := l.readDir(dir)
	if err != nil {
		return cannotRead(dir, err)
	}
	// An incomplete file is reported before one that cannot be read: it may be the
	// same, and then must not become readable.
	if err := checkFinished(dir, children); err != nil {
		return err
	}
	for _, child := range children {
		name := path.Join(dir, child.Name())
		entry, err := l.inspect(name, child)
		if err != nil {
			return cannotRead(name, err)
		}
		l.entries = append(l.entries, entry)
		if !entry.Mode.IsDir() || layer.IsSkipped(name, entry.Mode) {
			continue
		}
		if err := l.list(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) readDir(name string) ([]fs.DirEntry, error) {
	dir, err := l.root.OpenFile(name, openNonBlocking|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	var entries []fs.DirEntry
	for {
		more, err := dir.ReadDir(readDirBatch)
		entries = append(entries, more...)
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		if l.left -= len(more); l.left < 0 {
			return nil, ErrTooMany
		}
	}
}

func (l *lister) inspect(name string, child fs.DirEntry) (layer.SourceEntry, error) {
	info, err := child.Info()
	if err != nil {
		return layer.SourceEntry{}, err
	}
	entry := entryOf(name, info)
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		entry.Link, err = l.root.Readlink(name)
	case info.Mode().IsRegular():
		err = l.tryOpen(name)
	}
	return entry, err
}

func (l *lister) tryOpen(name string) error {
	file, err := l.root.OpenFile(name, openNonBlocking, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

func entryOf(name string, info fs.FileInfo) layer.SourceEntry {
	return layer.SourceEntry{Path: name, Mode: info.Mode(), Size: info.Size(), ModTime: info.ModTime()}
}

// cannotRead returns the failure of a file or directory that cannot be read.
func cannotRead(name string, err error) error {
	var f *failure.Error
	if errors.As(err, &f) {
		return f
	}
	if f := unreadable(name, err); f != nil {
		return f
	}
	if errors.Is(err, fs.ErrNotExist) {
		return failure.New(v1alpha1.ReasonSourceChanging, "%q was removed while the files were read: wait until nothing writes to the directory, then retry", name).WithCause(err)
	}
	return failure.New(v1alpha1.ReasonSourceUnreadable, "the build cannot read %q: %v", name, systemError(err)).WithCause(err)
}

// systemError returns the error of the system without the names of calls and of
// paths inside the pod.
func systemError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
