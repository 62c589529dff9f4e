package modelfile

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// maxReferences is how many files a file may refer to. More are not supported, to
// limit the use of memory.
const maxReferences = 10_000

// resolveReference returns the path of a file that another one refers to, relative
// to the latter's directory, or "" if it is not inside the model's directory.
func resolveReference(from File, name string) string {
	resolved := path.Join(path.Dir(from.Path), name)
	if name == "" || path.IsAbs(name) || strings.Contains(name, `\`) || !fs.ValidPath(resolved) {
		return ""
	}
	return resolved
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
