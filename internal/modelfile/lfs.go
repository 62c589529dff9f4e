package modelfile

import (
	"path"
	"slices"
	"strings"
)

// pointerPrefix is the start of the pointer that Git LFS leaves in place of a file,
// and maxPointer is larger than any pointer
// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
const (
	pointerPrefix = "version https://git-lfs.github.com/spec/"
	maxPointer    = 1024
)

// illustrations are the extensions of files that a model does not need: the pictures
// of its README, for example, stay pointers in a clone without Git LFS.
var illustrations = []string{".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".ico", ".pdf", ".mp3", ".mp4", ".wav", ".webm", ".mov"}

// mayBePointer reports whether a file may be a pointer to a file of the model.
func mayBePointer(file File) bool {
	return file.Size >= int64(len(pointerPrefix)) && file.Size < maxPointer && !slices.Contains(illustrations, extension(file.Path))
}

// isPointer reports whether a file is a pointer.
func isPointer(r *reader) (bool, error) {
	if r.size < int64(len(pointerPrefix)) || r.size >= maxPointer {
		return false, nil
	}
	start, err := r.bytes(len(pointerPrefix))
	return err == nil && string(start) == pointerPrefix, err
}

// errPointer is the defect of a pointer.
var errPointer = defect("is a Git LFS pointer and not the file itself (fetch it with git lfs pull)")

// checkPointers reports the pointers, unless they are to weights of a format that was
// not fetched: users fetch one of several formats.
func (c *checker) checkPointers() {
	for _, name := range c.pointers {
		if hasWeights(name) && !c.listed[name] && c.hasOtherFormat(name) {
			continue
		}
		c.problems.add("%s %s", displayName(name), errPointer)
	}
}

// hasOtherFormat reports whether the directory of a file with weights, or one above it,
// has weights of another format.
func (c *checker) hasOtherFormat(name string) bool {
	dir := path.Dir(name)
	return slices.ContainsFunc(c.files, func(other File) bool {
		above := path.Dir(other.Path)
		isAbove := above == "." || above == dir || strings.HasPrefix(dir, above+"/")
		return isAbove && other.Size >= maxPointer && extension(other.Path) != extension(name) && hasWeights(other.Path) && !isHidden(other.Path)
	})
}
