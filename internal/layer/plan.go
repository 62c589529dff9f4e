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
	// MinSize is the smallest layer size that can be configured, in bytes.
	MinSize = 1 << 20
	// DefaultSize is the default layer size in bytes.
	DefaultSize = 64 << 20
	// DefaultLayers is the default maximum number of layers for a model.
	DefaultLayers = 100
	// MaxImageLayers is the number of layers that registries and runtimes support
	// in an image, including the layers of the base image and of the manifest.
	MaxImageLayers = 127
	// RootDir is the path of the model's root directory in a listing or a plan.
	RootDir = "."
	// WhiteoutPrefix is the prefix by which a layer marks a file of a lower layer as
	// deleted.
	WhiteoutPrefix = ".wh."

	// maxBytes is the largest size of a model in bytes, 1 EiB: that of a sparse file, or of
	// an object in a list, can be any, and the sum must be a number.
	maxBytes = 1 << 60

	lostAndFound  = "lost+found"
	anyMayExecute = 0o111
)

// ErrEmpty is returned for a listing that contains no regular file.
var ErrEmpty = errors.New("no file to package")

// UnsafeError is returned for a listing that contains something that cannot be
// packaged faithfully.
type UnsafeError struct {
	// Path is relative to the model's root directory.
	Path string
	// Problem is the predicate of a sentence whose subject is the path.
	Problem string
	// Remedy is what to do about it.
	Remedy string
	// LeadsOut is the target of a symbolic link that leads out of the model's
	// directory; empty for anything else.
	LeadsOut string
}

func (e *UnsafeError) Error() string { return fmt.Sprintf("%q %s: %s", e.Path, e.Problem, e.Remedy) }

// SourceEntry is one entry in a listing of the model's directory.
type SourceEntry struct {
	// Path is relative to the model's root directory, with slashes; RootDir for
	// that directory itself.
	Path string
	// Mode is the mode as the filesystem has it, including the type bits.
	Mode fs.FileMode
	// Size is the size of a regular file in bytes.
	Size int64
	// ModTime is when the content was last changed.
	ModTime time.Time
	// Link is the target of a symbolic link, as written.
	Link string
	// Identity is what identifies the content of a file that is not mounted, as its
	// store reports it: "sha256:…", "git:…", or "etag:…" with the bucket. Two files with the
	// same identity have the same content.
	Identity string
	// Excluded is true for what a Filter excludes. Nothing in an excluded directory is
	// packaged, so that it need not be listed.
	Excluded bool
}

// Type is the type of an entry of a plan.
type Type string

// Types of entries.
const (
	File    Type = "file"
	Dir     Type = "dir"
	Symlink Type = "symlink"
)

// Entry is one file, directory or symbolic link to package.
type Entry struct {
	// Path is relative to the model's root directory, with slashes; RootDir for
	// that directory itself.
	Path string `json:"path"`
	Type Type   `json:"type"`
	// Size is a file's size in bytes.
	Size int64 `json:"size,omitempty"`
	// Mode is the mode in the image; links have none.
	Mode Mode `json:"mode,omitempty"`
	// ModTime is when the content was last changed, in nanoseconds since 1970.
	ModTime int64 `json:"modTime"`
	// Link is the target of a symbolic link, as written.
	Link string `json:"link,omitempty"`
	// Identity is that of the SourceEntry.
	Identity string `json:"identity,omitempty"`
}

// Limits are the limits for partitioning a model into layers.
type Limits struct {
	// Size is the layer size in bytes, at least 1.
	Size int64
	// Layers is the maximum number of layers, at least 1.
	Layers int
	// MaxSize is the number of bytes that a layer of several files does not exceed,
	// even if that takes more layers; 0 is no limit. A larger file has its own layer.
	MaxSize int64
}

// Plan assigns entries to layers.
type Plan struct {
	// Dir is the directory of the image that holds the model, without a leading
	// slash; ModelDir if empty.
	Dir string `json:"dir,omitempty"`
	// Layers holds the entries of each layer in path order. The first layer holds
	// all directories and links.
	Layers [][]Entry `json:"layers"`
	// Files counts the regular files.
	Files int64 `json:"files"`
	// Bytes is the sum of their sizes.
	Bytes int64 `json:"bytes"`
	// Skipped counts what has no content to package.
	Skipped int64 `json:"skipped,omitempty"`
	// Patterns are those of the Filter that excluded the rest of the directory, and
	// Excluded summarizes what it excluded.
	Patterns Patterns `json:"patterns,omitzero"`
	Excluded Excluded `json:"excluded,omitzero"`
}

// ModelDir returns the directory of the image that holds the model, relative to the
// image's root.
func (p Plan) ModelDir() string { return cmp.Or(p.Dir, ModelDir) }

// IsSkipped reports whether something is not packaged at all. The content of a
// skipped directory need not be listed.
func IsSkipped(at string, mode fs.FileMode) bool {
	if at == lostAndFound && mode.IsDir() {
		return true
	}
	return !mode.IsRegular() && !mode.IsDir() && mode.Type() != fs.ModeSymlink
}

// NewPlan plans the layers for a listing, in any order, of everything in the
// model's directory including that directory itself, within the default limits.
// The error is an *UnsafeError or ErrEmpty.
func NewPlan(listing []SourceEntry) (Plan, error) {
	listing, excluded := withoutExcluded(listing)
	entries, skipped, err := newEntries(listing)
	if err != nil {
		return Plan{}, err
	}
	if err := checkLinks(entries); err != nil {
		return Plan{}, err
	}
	plan := Plan{Skipped: skipped, Excluded: excluded}
	for _, e := range entries {
		if e.Type != File {
			continue
		}
		if e.Size > maxBytes-plan.Bytes {
			return Plan{}, &UnsafeError{Path: e.Path, Problem: fmt.Sprintf("has, according to its storage, %d bytes, more than a build can count", e.Size), Remedy: "correct the storage, or leave it out with spec.build.exclude"}
		}
		plan.Files++
		plan.Bytes += e.Size
	}
	if plan.Files == 0 {
		return Plan{}, ErrEmpty
	}
	plan.Layers = partition(entries, Limits{Size: DefaultSize, Layers: DefaultLayers})
	return plan, nil
}

// Budget returns how many layers are left for the model on a base image with the
// given number of layers. A result below 1 means that no layer is left for the model.
func Budget(baseLayers int) int {
	const manifestLayers = 1
	return MaxImageLayers - baseLayers - manifestLayers
}

// WithLimits returns the plan partitioned within other limits.
func (p Plan) WithLimits(limits Limits) Plan {
	p.Layers = partition(p.Entries(), limits)
	return p
}

// sizeStep is the precision in bytes of the layer size that partition finds.
const sizeStep = 1 << 20

// partition distributes entries, which are in path order, over layers: of the requested
// size, or of the smallest size with which there are not too many.
func partition(entries []Entry, limits Limits) [][]Entry {
	// Sizes can be arbitrarily large: a sparse file of 8 EiB uses no space.
	largest := cmp.Or(limits.MaxSize, math.MaxInt64/2)
	tooSmall, size := int64(0), min(max(limits.Size, 1), largest)
	for size < largest && countLayers(entries, size) > limits.Layers {
		tooSmall, size = size, min(2*size, largest)
	}
	for tooSmall > 0 && size-tooSmall > sizeStep {
		if middle := tooSmall + (size-tooSmall)/2; countLayers(entries, middle) > limits.Layers {
			tooSmall = middle
		} else {
			size = middle
		}
	}
	return partitionBySize(entries, size)
}

// countLayers returns how many layers partitionBySize makes.
func countLayers(entries []Entry, size int64) int {
	layers, filled := 1, int64(0)
	for _, e := range entries {
		switch {
		case e.Type != File:
		case e.Size >= size:
			layers++
		case filled+e.Size > size:
			layers, filled = layers+1, e.Size
		default:
			filled += e.Size
		}
	}
	return layers
}

// partitionBySize distributes entries, which are in path order, over layers of the
// given size.
func partitionBySize(entries []Entry, size int64) [][]Entry {
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
	slices.SortFunc(shared[0], comparePaths)
	return append(shared, large...)
}

// Entries returns the entries of all layers in path order.
func (p Plan) Entries() []Entry {
	entries := slices.Concat(p.Layers...)
	slices.SortFunc(entries, comparePaths)
	return entries
}

// ChangedPath returns the path of an entry that differs between two plans,
// modification times of files included, or "". The time of a directory does not count:
// file systems on top of object stores change it while they list it.
func ChangedPath(before, after Plan) string {
	for was, now := before.Entries(), after.Entries(); len(was)+len(now) > 0; was, now = was[1:], now[1:] {
		switch {
		case len(now) == 0 || len(was) > 0 && was[0].Path < now[0].Path:
			return was[0].Path
		case len(was) == 0 || now[0].Path < was[0].Path:
			return now[0].Path
		case withoutDirTime(was[0]) != withoutDirTime(now[0]):
			return was[0].Path
		}
	}
	return ""
}

// withoutDirTime returns an entry without its time if it is a directory.
func withoutDirTime(e Entry) Entry {
	if e.Type == Dir {
		e.ModTime = 0
	}
	return e
}

func comparePaths(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }

// newEntries returns the entries for a listing, in path order, and how many of its
// entries are skipped.
func newEntries(listing []SourceEntry) (entries []Entry, skipped int64, err error) {
	for _, source := range listing {
		if IsSkipped(source.Path, source.Mode) {
			skipped++
			continue
		}
		if strings.HasPrefix(source.Path, lostAndFound+"/") {
			continue
		}
		if err := checkName(source); err != nil {
			return nil, 0, err
		}
		entries = append(entries, newEntry(source))
	}
	slices.SortFunc(entries, comparePaths)
	return entries, skipped, nil
}

const renameIt = "rename it, or leave it out with spec.build.exclude"

// checkName returns an *UnsafeError for a name that an image cannot carry.
func checkName(source SourceEntry) error {
	if !utf8.ValidString(source.Path) || !utf8.ValidString(source.Link) {
		return &UnsafeError{Path: source.Path, Problem: "has a name or a link target that is not valid UTF-8", Remedy: renameIt}
	}
	if strings.HasPrefix(path.Base(source.Path), WhiteoutPrefix) {
		return &UnsafeError{Path: source.Path, Problem: "has a name that marks a deleted file in an image", Remedy: renameIt}
	}
	return nil
}

func newEntry(source SourceEntry) Entry {
	e := Entry{Path: source.Path, ModTime: source.ModTime.UnixNano(), Identity: source.Identity}
	switch {
	case source.Mode.IsDir():
		e.Type, e.Mode = Dir, ModeExecutable
	case source.Mode.IsRegular():
		e.Type, e.Mode, e.Size = File, ModeReadable, source.Size
		if source.Mode.Perm()&anyMayExecute != 0 {
			e.Mode = ModeExecutable
		}
	default:
		e.Type, e.Link = Symlink, source.Link
	}
	return e
}
