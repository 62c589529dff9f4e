package layer

import (
	"path"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// ModelDir is v1alpha1.ModelPath relative to the image's root, as the names in
// an archive are.
var ModelDir = strings.TrimPrefix(v1alpha1.ModelPath, "/")

// RemovesModel reports whether an archive's entry, given its name, is a whiteout
// that removes the model, or a part of it, from the layers below.
func RemovesModel(entryName string) bool {
	name := CleanName(entryName)
	removed, isWhiteout := strings.CutPrefix(path.Base(name), WhiteoutPrefix)
	if !isWhiteout {
		return false
	}
	name = path.Join(path.Dir(name), removed)
	return name == ModelDir || strings.HasPrefix(name, ModelDir+"/")
}

// CleanName returns the name of an archive's entry relative to the image's root,
// without "./", a leading slash or a trailing one.
func CleanName(entryName string) string { return path.Clean(strings.TrimPrefix(entryName, "/")) }
