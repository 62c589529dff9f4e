package modelfile

import (
	"maps"
	"slices"
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
	if r.size >= maxPointer {
		return false, nil
	}
	return r.startsWith(pointerPrefix)
}

// checkPointers reports the pointers, unless they are to weights of a format that was
// not fetched: users fetch one of several formats.
func (c *checker) checkPointers() {
	for _, name := range slices.Sorted(maps.Keys(c.pointers)) {
		if hasWeights(name) && !c.listed[name] && c.weights.hasOtherFormat(name) {
			continue
		}
		c.problems.add("%s is a Git LFS pointer and not the file itself (fetch it with git lfs pull)", displayName(name))
	}
}
