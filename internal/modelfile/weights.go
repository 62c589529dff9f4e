package modelfile

import (
	"path"
	"slices"
)

// weights is which directories have weights of which formats, as far as names and sizes
// show. Users download a model in one of several formats.
type weights struct {
	// below are the directories with weights of any format in them or below them.
	below map[string]bool
	// formats are the extensions of the weights in each directory.
	formats map[string]map[string]bool
}

// minUnknownWeights is the size in bytes from which a file of an unknown format may
// contain weights.
const minUnknownWeights = 1 << 20

// textFormats are the extensions of files that never contain weights, however large.
var textFormats = []string{".json", ".txt", ".md", ".py", ".jinja", ".model", ".csv", ".xml", ".yaml", ".yml"}

func weightsOf(files []File) weights {
	w := weights{below: map[string]bool{}, formats: map[string]map[string]bool{}}
	for _, file := range files {
		if file.Size == 0 || isHidden(file.Path) {
			continue
		}
		known := hasWeights(file.Path)
		if known || mayBeUnknownWeights(file) {
			w.addBelow(path.Dir(file.Path))
		}
		if known && file.Size >= maxPointer {
			w.addFormat(path.Dir(file.Path), extension(file.Path))
		}
	}
	return w
}

func mayBeUnknownWeights(file File) bool {
	format := extension(file.Path)
	return file.Size > minUnknownWeights && !slices.Contains(textFormats, format) && !slices.Contains(illustrations, format)
}

// addBelow adds a directory and those above it.
func (w weights) addBelow(dir string) {
	for ; !w.below[dir]; dir = path.Dir(dir) {
		w.below[dir] = true
	}
}

func (w weights) addFormat(dir, format string) {
	if w.formats[dir] == nil {
		w.formats[dir] = map[string]bool{}
	}
	w.formats[dir][format] = true
}

// hasOtherFormat reports whether the directory of a file with weights, or one above it,
// has weights of another format. A pointer of Git LFS is too small to be one.
func (w weights) hasOtherFormat(name string) bool {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		formats := w.formats[dir]
		if len(formats) > 1 || len(formats) == 1 && !formats[extension(name)] {
			return true
		}
		if dir == "." {
			return false
		}
	}
}
