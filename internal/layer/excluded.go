package layer

import (
	"cmp"
	"path"
	"slices"
)

// Excluded summarizes what a Filter excludes.
type Excluded struct {
	// Dirs counts the directories that are excluded, and not listed, as a whole.
	Dirs int64 `json:"dirs,omitempty"`
	// Files counts the files and links that are excluded elsewhere.
	Files int64 `json:"files,omitempty"`
	// Bytes is the sum of the sizes of those files.
	Bytes int64 `json:"bytes,omitempty"`
	// Names are the paths of a few of them: of directories, with a slash at the end, and
	// then of the largest files.
	Names []string `json:"names,omitempty"`
}

// maxExcludedNames is how many names Excluded has at most.
const maxExcludedNames = 5

// withoutExcluded returns a listing without what is excluded, without the directories
// that are empty only because of that, and a summary of what is excluded. The
// IgnoreFile does not count.
func withoutExcluded(listing []SourceEntry) ([]SourceEntry, Excluded) {
	if !slices.ContainsFunc(listing, func(e SourceEntry) bool { return e.Excluded }) {
		return listing, Excluded{}
	}
	var packaged, excluded []SourceEntry
	for _, e := range listing {
		switch {
		case !e.Excluded:
			packaged = append(packaged, e)
		case e.Path != IgnoreFile:
			excluded = append(excluded, e)
		}
	}
	return withoutEmptied(packaged, excluded), summarize(excluded)
}

// withoutEmptied returns what is packaged without the directories in which only
// excluded entries are.
func withoutEmptied(packaged, excluded []SourceEntry) []SourceEntry {
	affected, needed := dirSet{}, dirSet{}
	for _, e := range excluded {
		affected.addParents(e.Path)
	}
	for _, e := range packaged {
		isFile := !e.Mode.IsDir() && !IsSkipped(e.Path, e.Mode)
		if wasEmpty := e.Mode.IsDir() && !affected[e.Path]; isFile || wasEmpty {
			needed.addParents(e.Path)
		}
	}
	return slices.DeleteFunc(packaged, func(e SourceEntry) bool {
		return e.Path != RootDir && e.Mode.IsDir() && affected[e.Path] && !needed[e.Path]
	})
}

// dirSet is a set of directories, and of all that they are in.
type dirSet map[string]bool

// addParents adds all directories that a path is in.
func (s dirSet) addParents(at string) {
	for dir := path.Dir(at); !s[dir]; dir = path.Dir(dir) {
		s[dir] = true
	}
}

func summarize(excluded []SourceEntry) Excluded {
	var summary Excluded
	for _, e := range excluded {
		switch {
		case e.Mode.IsDir():
			summary.Dirs++
		case e.Mode.IsRegular():
			summary.Bytes += e.Size
			fallthrough
		default:
			summary.Files++
		}
	}
	slices.SortFunc(excluded, func(a, b SourceEntry) int {
		switch {
		case a.Mode.IsDir() && b.Mode.IsDir():
			return cmp.Compare(a.Path, b.Path)
		case a.Mode.IsDir():
			return -1
		case b.Mode.IsDir():
			return 1
		default:
			return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Path, b.Path))
		}
	})
	for _, e := range excluded[:min(len(excluded), maxExcludedNames)] {
		name := e.Path
		if e.Mode.IsDir() {
			name += "/"
		}
		summary.Names = append(summary.Names, name)
	}
	return summary
}
