package modelfile

// pointerPrefix is the start of the pointer that Git LFS leaves in place of a file,
// and maxPointer is larger than any pointer
// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
const (
	pointerPrefix = "version https://git-lfs.github.com/spec/"
	maxPointer    = 1024
)

// mayBePointer reports whether a file that need not contain weights may be a
// pointer.
func mayBePointer(file File) bool {
	return extension(file.Path) == ".bin" && file.Size > 0 && file.Size < maxPointer
}

func checkPointer(r *reader) error {
	if r.size < int64(len(pointerPrefix)) || r.size >= maxPointer {
		return nil
	}
	start, err := r.bytes(len(pointerPrefix))
	if err != nil {
		return err
	}
	if string(start) == pointerPrefix {
		return defect("is a Git LFS pointer and not the file itself (fetch it with git lfs pull)")
	}
	return nil
}
