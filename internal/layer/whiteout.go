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
// root.
const KServeDir = "models"

// OpaqueWhiteout is the name of the entry by which a layer hides everything that
// lower layers have in the entry's directory.
const OpaqueWhiteout = WhiteoutPrefix + WhiteoutPrefix + ".opq"

// IsWhiteout reports whether an archive's entry, given its name, removes something
// from the layers below.
func IsWhiteout(entryName string) bool {
	return strings.HasPrefix(path.Base(CleanName(entryName)), WhiteoutPrefix)
}

// RemovesModel reports whether an archive's entry, given its name, is a whiteout
// that removes a model in the directory modelDir, or a part of it, from the layers
// below.
func RemovesModel(modelDir, entryName string) bool {
	name := CleanName(entryName)
	dir, base := path.Dir(name), path.Base(name)
	if base == OpaqueWhiteout {
		return Contains(dir, modelDir) || Contains(modelDir, dir)
	}
	removed, isWhiteout := strings.CutPrefix(base, WhiteoutPrefix)
	at := path.Join(dir, removed)
	return isWhiteout && (Contains(at, modelDir) || Contains(modelDir, at))
}

// Contains reports whether a clean name of an archive's entry is that of the
// directory dir, or of something in it.
func Contains(dir, name string) bool {
	return dir == RootDir || name == dir || strings.HasPrefix(name, dir+"/")
}

// Links returns the symbolic links, relative to the image's root, by which an image
// whose model is in the directory modelDir has it at other places: at ModelDir, for
// everything that expects it there, and at KServeDir, unless the model or the base
// image has something there. Clients read the links from other containers too,
// beneath the root directory of a process, so they are relative.
func Links(modelDir string, baseHasKServeDir bool) []Entry {
	var links []Entry
	if modelDir != ModelDir {
		links = append(links, Entry{Path: ModelDir, Type: Symlink, Link: modelDir})
	}
	if !baseHasKServeDir && !Contains(KServeDir, modelDir) {
		links = append(links, Entry{Path: KServeDir, Type: Symlink, Link: modelDir})
	}
	return links
}

// CleanName returns the name of an archive's entry as runtimes resolve it: relative
// to the image's root, which is RootDir itself, and without "." and ".." elements and
// superfluous slashes.
func CleanName(entryName string) string {
	return path.Clean(strings.TrimPrefix(path.Clean("/"+entryName), "/"))
}
