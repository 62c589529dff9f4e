package remote

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/text"
)

// object is a file as a store lists it.
type object struct {
	// path is relative to the model's directory. Nothing is known of it.
	path string
	// dir is true if it is a directory, for which stores have objects without content.
	dir      bool
	size     int64
	modTime  time.Time
	identity string
	// archived is true if the file may have to be restored before it can be read.
	archived bool
}

// listing is the directory that the names of objects make up.
type listing struct {
	entries []layer.SourceEntry
	// dirs are the paths of all entries, and whether they are directories.
	dirs map[string]bool
	// sample is the first file with content, or rather the first archived one.
	sample object
	// left is how many more objects may be added, directories that exist included: a
	// server could list them forever.
	left int
}

func newListing() *listing {
	l := &listing{dirs: map[string]bool{}, left: source.MaxEntries}
	l.put(layer.SourceEntry{Path: layer.RootDir, Mode: fs.ModeDir | 0o755, ModTime: noTime})
	return l
}

// noTime is the time of what has none.
var noTime = time.Unix(0, 0)

// add adds an object and its directories. It returns a failure for one that cannot be a
// file.
func (l *listing) add(o object) error {
	if l.left--; l.left < 0 {
		return source.ErrTooMany
	}
	if problem := pathProblem(o.path); problem != "" {
		return unsafePath(o.path, problem)
	}
	parent := o.path
	if !o.dir {
		if _, exists := l.dirs[o.path]; exists {
			return unsafePath(o.path, "is both a file and a directory, or listed twice: rename one of them")
		}
		l.put(layer.SourceEntry{Path: o.path, Mode: 0o644, Size: o.size, ModTime: o.modTime, Identity: o.identity})
		parent = path.Dir(o.path)
	}
	if o.size > 0 && (l.sample.path == "" || o.archived && !l.sample.archived) {
		l.sample = o
	}
	return l.addDirs(parent)
}

// addDirs adds a directory and those that it is in.
func (l *listing) addDirs(dir string) error {
	for ; len(l.entries) <= source.MaxEntries; dir = path.Dir(dir) {
		isDir, exists := l.dirs[dir]
		switch {
		case exists && !isDir:
			return unsafePath(dir, "is both a file and a directory: rename one of them")
		case exists:
			return nil
		}
		l.put(layer.SourceEntry{Path: dir, Mode: fs.ModeDir | 0o755, ModTime: noTime})
	}
	return source.ErrTooMany
}

func (l *listing) put(e layer.SourceEntry) {
	l.entries = append(l.entries, e)
	l.dirs[e.Path] = e.Mode.IsDir()
}

const (
	// maxName is how many bytes a file's name has on the file systems of Linux, and
	// maxPath how many the path of an object has in Amazon S3. A node could not unpack an
	// image with longer ones.
	maxName = 255
	maxPath = 1024
)

// pathProblem returns why a file cannot have a path, as the predicate of a sentence, or
// "".
func pathProblem(name string) string {
	isTooLong := func(element string) bool { return len(element) > maxName }
	switch {
	case len(name) > maxPath || slices.ContainsFunc(strings.Split(name, "/"), isTooLong):
		return fmt.Sprintf("is too long, since a path has %d bytes at most, and a name in it %d: rename it", maxPath, maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has a name with control characters: rename it"
	case !fs.ValidPath(name) || name == layer.RootDir:
		return "has a name that no file can have, with '//', '.', '..', a slash at an end or bytes that are not UTF-8: rename it"
	default:
		return ""
	}
}

func unsafePath(name, problem string) error {
	return failure.New(v1alpha1.ReasonSourceUnsafe, "%q %s", shown(name), problem)
}

// maxShown is how many characters of a name a message holds.
const maxShown = 150

// shown returns a name for messages.
func shown(name string) string { return text.OneLine(name, maxShown) }
