package layer

import (
	"path"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// ModelDir is v1alpha1.ModelPath relative to the image's root, as the names in
// an archive are.
var ModelDir = strings.TrimPrefix(v1alpha1.ModelPath, "/")

// KServeDir is where KServe expects the model in an image, relative to the image's
// root. Kaniko puts a link to ModelDir there.
const KServeDir = "models"

// OpaqueWhiteout is the name of the entry by which a layer hides everything that
// lower layers have in the entry's directory.
const OpaqueWhiteout = WhiteoutPrefix + WhiteoutPrefix + ".opq"

// RemovesModel reports whether an archive's entry, given its name, is a whiteout
// that removes the model, or a part of it, from the layers below.
func RemovesModel(entryName string) bool {
	name := CleanName(entryName)
	dir, base := path.Dir(name), path.Base(name)
	if base == OpaqueWhiteout {
		return dir == RootDir || InModel(dir)
	}
	removed, isWhiteout := strings.CutPrefix(base, WhiteoutPrefix)
	return isWhiteout && InModel(path.Join(dir, removed))
}

// InModel reports whether a clean name of an archive's entry is the model's directory
// or something in it.
func InModel(name string) bool { return name == ModelDir || strings.HasPrefix(name, ModelDir+"/") }

// CleanName returns the name of an archive's entry as runtimes resolve it: relative
// to the image's root, which is RootDir itself, and without "." and ".." elements and
// superfluous slashes.
func CleanName(entryName string) string {
	return path.Clean(strings.TrimPrefix(path.Clean("/"+entryName), "/"))
}
