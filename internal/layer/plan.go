// Package layer plans which files of a model go into which layer of its image.
//
// The rule for what is packaged:
//   - Regular files and folders are, empty folders and hidden names too. A file
//     with several names is packaged once for each.
//   - A relative symbolic link that leads to something packaged stays a link:
//     the images are loaded with cp -r, which keeps links. A link that is
//     absolute, leads out of the model, leads nowhere or leads in a circle is
//     refused, since it would mean something else in a container.
//   - Sockets, pipes and devices have no content, and a lost+found at the top
//     belongs to the disk: they are left out, and counted.
//   - A name that is not valid UTF-8 is refused, since neither the archive nor
//     the manifest can carry it unchanged; so is one that begins with ".wh.",
//     by which a layer says that a file of a layer below is gone.
//   - Folders get the mode 0755, files 0644, or 0755 when anyone may execute
//     them; everything belongs to 0:0; times are the source's. So anyone may
//     read the model, and the same files give the same entries wherever they
//     were copied from.
//
// The rule for where it goes: each file of at least the layer size has a layer
// of its own, so that layers are pushed and pulled in parallel and a new version
// moves only the files that changed. Smaller ones share layers of at most that
// size with their neighbours in the order of paths; folders and links are in the
// first. When that makes more layers than there may be, the layer size is
// doubled until it does not.
//
// Everything here is a pure function: the listing is made elsewhere.
package layer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// LeastSize is the smallest layer size that can be asked for, in bytes.
	LeastSize = 1 << 20
	// DefaultSize is the layer size in bytes where nothing else is asked for.
	DefaultSize = 64 << 20
	// DefaultLayers is the largest number of layers that a model is spread over
	// where nothing else is asked for.
	DefaultLayers = 100
	// MaxImageLayers is where registries and runtimes stop: the layers of a
	// whole image, with the base image's and the manifest's.
	MaxImageLayers = 127
	// TopFolder is the path of the model's own folder in a listing or a plan.
	TopFolder = "."
	// Whiteout is the prefix by which a layer says that a file of a layer below
	// is gone.
	Whiteout = ".wh."

	lostAndFound  = "lost+found"
	anyMayExecute = 0o111
)

// ErrEmpty says that a listing holds no regular file.
var ErrEmpty = errors.New("no file to package")

// UnsafeError says that something in a listing cannot be packaged faithfully.
type UnsafeError struct {
	// Path is where, relative to the model's folder.
	Path string
	// Problem is what is wrong with it, as the end of a sentence that begins
	// with the path.
	Problem string
}

func (e *UnsafeError) Error() string { return fmt.Sprintf("%q %s", e.Path, e.Problem) }

// Found is one thing in a listing of the model's folder.
type Found struct {
	// Path is relative to the model's folder, with slashes; TopFolder for the
	// folder itself.
	Path string
	// Mode is the mode as the filesystem has it, with its type bits.
	Mode fs.FileMode
	// Size is a regular file's size in bytes.
	Size int64
	// ModTime is when the content was last changed.
	ModTime time.Time
	// Link is a symbolic link's target as it is written.
	Link string
}

// Type is what an entry of a plan is.
type Type string

// Types of entries.
const (
	File    Type = "file"
	Folder  Type = "dir"
	Symlink Type = "symlink"
)

// Entry is one thing to package.
type Entry struct {
	// Path is relative to the model's folder, with slashes; TopFolder for the
	// folder itself.
	Path string `json:"path"`
	Type Type   `json:"type"`
	// Size is a file's size in bytes.
	Size int64 `json:"size,omitempty"`
	// Mode is the mode to give it; links have none.
	Mode Mode `json:"mode,omitempty"`
	// ModTime is when the content was last changed, in nanoseconds since 1970.
	ModTime int64 `json:"modTime"`
	// Link is a symbolic link's target as it is written.
	Link string `json:"link,omitempty"`
}

// Limits say how a model is spread over layers.
type Limits struct {
	// Size is the layer size in bytes, at least 1.
	Size int64
	// Layers is the largest number of layers, at least 1.
	Layers int
}

// Plan says which entries go into which layer.
type Plan struct {
	// Layers holds the entries of each layer in the order of their paths. The
	// first layer holds every folder and link.
	Layers [][]Entry `json:"layers"`
	// Files counts the regular files.
	Files int64 `json:"files"`
	// Bytes is the sum of their sizes.
	Bytes int64 `json:"bytes"`
	// Skipped counts what is left out.
	Skipped int64 `json:"skipped,omitempty"`
}

// LeftOut says whether something is not packaged at all. What is below a
// folder that is left out need not be listed.
func LeftOut(at string, mode fs.FileMode) bool {
	if at == lostAndFound && mode.IsDir() {
		return true
	}
	return !mode.IsRegular() && !mode.IsDir() && mode.Type() != fs.ModeSymlink
}

// Make plans the layers for a listing, in any order, of everything in the
// model's folder, the folder itself included, within the default limits. The
// error is an *UnsafeError, or ErrEmpty.
func Make(listing []Found) (Plan, error) {
	entries, skipped, err := entriesOf(listing)
	if err != nil {
		return Plan{}, err
	}
	if err := checkLinks(entries); err != nil {
		return Plan{}, err
	}
	plan := Plan{Skipped: skipped, Layers: spread(entries, Limits{Size: DefaultSize, Layers: DefaultLayers})}
	for _, e := range entries {
		if e.Type == File {
			plan.Files++
			plan.Bytes += e.Size
		}
	}
	if plan.Files == 0 {
		return Plan{}, ErrEmpty
	}
	return plan, nil
}

// Budget returns how many layers a base image leaves for a model, of which it
// has that many itself. With less than 1, there is no room.
func Budget(base int) int {
	const manifest = 1
	return MaxImageLayers - base - manifest
}

// Within returns the plan spread over layers within other limits.
func (p Plan) Within(limits Limits) Plan {
	p.Layers = spread(p.Entries(), limits)
	return p
}

// spread distributes entries, in the order of paths, over layers.
func spread(entries []Entry, limits Limits) [][]Entry {
	for size := max(limits.Size, 1); ; size *= 2 {
		// Sizes may say anything: a sparse file of 8 EiB takes no room.
		if layers := layersOf(entries, size); len(layers) <= limits.Layers || size > math.MaxInt64/2 {
			return layers
		}
	}
}

// layersOf distributes entries, in the order of paths, over layers of a size.
func layersOf(entries []Entry, size int64) [][]Entry {
	shared, large := [][]Entry{{}}, [][]Entry{}
	for _, e := range entries {
		if e.Type != File {
			shared[0] = append(shared[0], e)
		}
	}
	filled := int64(0)
	for _, e := range entries {
		switch {
		case e.Type != File:
		case e.Size >= size:
			large = append(large, []Entry{e})
		case filled+e.Size > size:
			shared, filled = append(shared, []Entry{e}), e.Size
		default:
			last := len(shared) - 1
			shared[last], filled = append(shared[last], e), filled+e.Size
		}
	}
	slices.SortFunc(shared[0], byPath)
	return append(shared, large...)
}

// Entries returns the entries of all layers in the order of their paths.
func (p Plan) Entries() []Entry {
	entries := slices.Concat(p.Layers...)
	slices.SortFunc(entries, byPath)
	return entries
}

// Change returns the path of something that differs between two plans, times
// included, or "". A folder whose time alone differs is named last, since what
// was put into it says more.
func Change(before, after Plan) string {
	folder := ""
	for was, now := before.Entries(), after.Entries(); len(was)+len(now) > 0; was, now = was[1:], now[1:] {
		switch {
		case len(now) == 0 || len(was) > 0 && was[0].Path < now[0].Path:
			return was[0].Path
		case len(was) == 0 || now[0].Path < was[0].Path:
			return now[0].Path
		case was[0].Type != Folder && was[0] != now[0]:
			return was[0].Path
		case was[0] != now[0]:
			folder = cmp.Or(folder, was[0].Path)
		}
	}
	return folder
}

func byPath(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }

// entriesOf returns what is packaged of a listing, in the order of paths, and
// the number of things that are left out.
func entriesOf(listing []Found) (entries []Entry, skipped int64, err error) {
	for _, found := range listing {
		if LeftOut(found.Path, found.Mode) {
			skipped++
			continue
		}
		if strings.HasPrefix(found.Path, lostAndFound+"/") {
			continue
		}
		if err := checkName(found); err != nil {
			return nil, 0, err
		}
		entries = append(entries, entryOf(found))
	}
	slices.SortFunc(entries, byPath)
	return entries, skipped, nil
}

// checkName refuses names that an image cannot carry.
func checkName(found Found) error {
	if !utf8.ValidString(found.Path) || !utf8.ValidString(found.Link) {
		return &UnsafeError{Path: found.Path, Problem: "has a name or a target that is not valid UTF-8: rename it"}
	}
	if strings.HasPrefix(path.Base(found.Path), Whiteout) {
		return &UnsafeError{Path: found.Path, Problem: "has a name that means a deleted file in an image: rename it"}
	}
	return nil
}

func entryOf(found Found) Entry {
	e := Entry{Path: found.Path, ModTime: found.ModTime.UnixNano()}
	switch {
	case found.Mode.IsDir():
		e.Type, e.Mode = Folder, ModeExecutable
	case found.Mode.IsRegular():
		e.Type, e.Mode, e.Size = File, ModeReadable, found.Size
		if found.Mode.Perm()&anyMayExecute != 0 {
			e.Mode = ModeExecutable
		}
	default:
		e.Type, e.Link = Symlink, found.Link
	}
	return e
}
