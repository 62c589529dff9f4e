package modelfile

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Limits of memory. What exceeds them is not supported.
const (
	// maxReferences is how many files a file may refer to.
	maxReferences = 10_000
	// maxPath is the length of a path on Linux in bytes.
	maxPath = 4096
	// maxNames is how many bytes the names have to which all files of a model refer.
	maxNames = 32 << 20
)

// references maps the files that another one refers to to the number of bytes that it
// needs of them, or 0 if that is unknown.
type references map[string]int64

// add adds a name that a file contains, relative to its directory. A name that is a URL
// or leads out of the model's directory is ignored.
func (r references) add(from File, name string, size int64) error {
	resolved := resolveReference(from, name)
	if resolved == "" {
		return nil
	}
	if _, known := r[resolved]; !known && len(r) == maxReferences {
		return errUnsupported
	}
	r[resolved] = max(r[resolved], size)
	return nil
}

// resolveReference returns the path of a file that another one refers to, relative
// to the latter's directory, or "" if it is not inside the model's directory.
func resolveReference(from File, name string) string {
	resolved := path.Join(path.Dir(from.Path), name)
	if name == "" || len(resolved) > maxPath || path.IsAbs(name) || strings.ContainsAny(name, `\?`) || strings.Contains(name, "://") || !fs.ValidPath(resolved) {
		return ""
	}
	return resolved
}

// addList remembers which files another one refers to.
func (c *checker) addList(l list) error {
	for name := range l.needs {
		c.names += len(name)
	}
	if c.names > maxNames {
		return errUnsupported
	}
	c.lists = append(c.lists, l)
	return nil
}

// list is a file that refers to others.
type list struct {
	file  File
	needs references
	// missing are those that do not exist, in order.
	missing []string
	// excuse returns which of the missing files are certainly missing.
	excuse func(l list) []string
}

// checkLists checks that the files exist that others refer to, and that they are large
// enough.
func (c *checker) checkLists() error {
	for i := range c.lists {
		if err := c.lookUp(&c.lists[i]); err != nil {
			return err
		}
	}
	for _, l := range c.lists {
		if len(l.missing) > 0 {
			certain := l.excuse(l)
			if len(certain) == 0 {
				continue
			}
			c.problems.add("%s listed in %s but missing", displayNames(certain), displayName(l.file.Path))
		}
		for name := range l.needs {
			c.listed[name] = true
		}
	}
	return nil
}

// lookUp finds the missing files of a list, and reports those that are too small.
func (c *checker) lookUp(l *list) error {
	var empty []string
	for _, name := range slices.Sorted(maps.Keys(l.needs)) {
		size, exists, err := c.stat(name)
		switch want := l.needs[name]; {
		case err != nil:
			return err
		case !exists:
			l.missing = append(l.missing, name)
			delete(c.wholeONNX, l.file.Path)
		case size >= want || c.pointers[name] || size == 0 && hasWeights(name):
			// Pointers and empty files with weights are reported themselves.
		case size == 0:
			empty = append(empty, name)
		default:
			c.problems.add("%s is truncated: it has %d bytes, but %s refers to %d", displayName(name), size, displayName(l.file.Path), want)
		}
	}
	if len(empty) > 0 {
		c.problems.add("%s listed in %s but empty", displayNames(empty), displayName(l.file.Path))
	}
	return nil
}

// stat returns the size of a file that another one refers to.
func (c *checker) stat(name string) (size int64, exists bool, err error) {
	if size, listed := c.sizes[name]; listed {
		return size, true, nil
	}
	info, err := fs.Stat(c.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return info.Size(), true, nil
}
