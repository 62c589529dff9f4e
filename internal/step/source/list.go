package source

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/text"
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

// maxDepth is how deep the directories are nested, at most, if symbolic links are
// followed.
const maxDepth = 40

// List opens every file, so that an unreadable one is found before anything is built.
func (d *Directory) List(ctx context.Context) ([]layer.SourceEntry, error) {
	info, err := d.root.Stat(d.at(layer.RootDir))
	if err != nil {
		return nil, cannotRead(layer.RootDir, err)
	}
	l := lister{Directory: d, left: MaxEntries, entries: []layer.SourceEntry{entryOf(layer.RootDir, info)}}
	top, err := l.enter(listedDir{}, layer.RootDir)
	if err != nil {
		return nil, err
	}
	if err := l.list(ctx, top); err != nil {
		return nil, err
	}
	return l.entries, nil
}

type lister struct {
	*Directory
	// left is how many more entries there may be.
	left    int
	entries []layer.SourceEntry
}

// listedDir is a directory whose content is listed.
type listedDir struct {
	path     string
	decision layer.Decision
	// chain identifies the directory and those that it is in, if links are followed.
	chain []Identity
}

// enter returns a directory in another one. If links are followed, it must not be in
// itself.
func (l *lister) enter(in listedDir, name string) (listedDir, error) {
	next := listedDir{path: name}
	if name != layer.RootDir {
		next.decision = l.filter.Decide(in.decision, name, true)
	}
	if !l.followsLinks {
		return next, nil
	}
	info, err := l.root.Stat(l.at(name))
	if err != nil {
		return next, cannotRead(name, err)
	}
	identity, err := identityOf(info)
	if err != nil {
		return next, err
	}
	if slices.Contains(in.chain, identity) {
		return next, failure.New(v1alpha1.ReasonSourceUnsafe, "%q leads to a directory that it is in, through a symbolic link: remove the link, or leave it out with spec.build.exclude", text.OneLine(name, maxShownPath))
	}
	if len(in.chain) > maxDepth {
		return next, failure.New(v1alpha1.ReasonSourceUnsafe, "directories are nested more than %d deep, which is not supported while symbolic links are followed: leave them out with spec.build.exclude, or set spec.build.symlinks: %s", maxDepth, v1alpha1.KeepSymlinks)
	}
	next.chain = append(slices.Clip(in.chain), identity)
	return next, nil
}

func (l *lister) list(ctx context.Context, in listedDir) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	children, err := l.readDir(in.path)
	if err != nil {
		return cannotRead(in.path, err)
	}
	first := len(l.entries)
	var problem error
	for _, child := range children {
		if err := l.add(in, child); problem == nil {
			problem = err
		}
	}
	end := len(l.entries)
	// An incomplete file is reported before one that cannot be read: it may be the
	// same, and then must not become readable.
	if err := cmp.Or(checkFinished(in.path, l.entries[first:end]), problem); err != nil {
		return err
	}
	for i := first; i < end; i++ {
		entry := l.entries[i]
		if entry.Excluded || !entry.Mode.IsDir() || layer.IsSkipped(entry.Path, entry.Mode) {
			continue
		}
		next, err := l.enter(in, entry.Path)
		if err != nil {
			return err
		}
		if err := l.list(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) readDir(name string) ([]fs.DirEntry, error) {
	dir, err := l.root.OpenFile(l.at(name), openNonBlocking|syscall.O_DIRECTORY, 0)
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

// add adds what is in a directory to the listing. What is excluded need not be readable.
func (l *lister) add(in listedDir, child fs.DirEntry) error {
	entry, err := l.inspect(path.Join(in.path, child.Name()), child)
	entry.Excluded = l.filter.Decide(in.decision, entry.Path, entry.Mode.IsDir()).Excluded
	l.entries = append(l.entries, entry)
	if entry.Excluded {
		return nil
	}
	if err == nil && entry.Mode.IsRegular() {
		err = l.tryOpen(entry.Path)
	}
	if err != nil {
		return cannotRead(entry.Path, err)
	}
	return nil
}

// inspect returns the entry for what is in a directory. Beside an error, it has at least
// the path and the type.
func (l *lister) inspect(name string, child fs.DirEntry) (layer.SourceEntry, error) {
	info, err := child.Info()
	if err != nil {
		return layer.SourceEntry{Path: name, Mode: child.Type()}, err
	}
	entry := entryOf(name, info)
	if info.Mode().Type() != fs.ModeSymlink {
		return entry, nil
	}
	if entry.Link, err = l.root.Readlink(l.at(name)); err != nil || !l.followsLinks {
		return entry, err
	}
	target, err := l.root.Stat(l.at(name))
	if err != nil {
		return entry, cannotFollow(entry, err)
	}
	return entryOf(name, target), nil
}

func (l *lister) tryOpen(name string) error {
	file, err := l.root.OpenFile(l.at(name), openNonBlocking, 0)
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
	if leadsOut(err) {
		return Changing(name)
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
