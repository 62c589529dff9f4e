package layer

import (
	"cmp"
	"fmt"
	"slices"
)

// ManifestDir and ManifestFile are where an image stores the manifest of its
// model, relative to the image's root.
const (
	ManifestDir  = ".modelkiln"
	ManifestFile = ".modelkiln/manifest.json"
)

// Manifest lists what an image contains of a model. It is written into the image,
// so that a later build of the same ModelVersion can determine whether its source
// has changed without pulling the model. It has no times: a file that was only
// touched has not changed.
type Manifest struct {
	// Dir is the directory of the image that holds the model, without a leading
	// slash; ModelDir if empty.
	Dir string `json:"dir,omitempty"`
	// Patterns are those by which the files were selected. The same files do not prove
	// that others would select the same next time, so they belong to the version.
	Patterns
	// Entries are in path order.
	Entries []ManifestEntry `json:"entries"`
	// Layers are the image's layers that contain them, as the builder wrote them.
	// By them a later build can determine whether the whole image was pushed.
	Layers []BuiltLayer `json:"layers,omitempty"`
	// Streamed is true if each of Layers is the Archive of its entries, so that its
	// digest identifies the files. The entries need no digests then, and either all
	// files have one or none.
	Streamed bool `json:"streamed,omitempty"`
}

// ManifestEntry is one file, directory or symbolic link of a model.
type ManifestEntry struct {
	Path string `json:"path"`
	Type Type   `json:"type"`
	// Size is a file's size in bytes.
	Size int64 `json:"size,omitempty"`
	Mode Mode  `json:"mode,omitempty"`
	// SHA256 is the digest of a file's content, in hexadecimal.
	SHA256 string `json:"sha256,omitempty"`
	// Link is the target of a symbolic link.
	Link string `json:"link,omitempty"`
	// Layer is the index of the layer of a streamed manifest that contains the
	// entry. How a model is partitioned is configurable and not part of its content.
	Layer int `json:"layer,omitempty"`
}

// NewManifest returns the manifest of a plan, with the digests of its files by
// path. Files without a digest in the map get none.
func NewManifest(plan Plan, digests map[string]string) Manifest {
	m := Manifest{Dir: plan.Dir, Patterns: plan.Patterns}
	for number, entries := range plan.Layers {
		for _, e := range entries {
			m.Entries = append(m.Entries, ManifestEntry{
				Path: e.Path, Type: e.Type, Size: e.Size, Mode: e.Mode, SHA256: digests[e.Path], Link: e.Link, Layer: number,
			})
		}
	}
	slices.SortFunc(m.Entries, func(a, b ManifestEntry) int { return cmp.Compare(a.Path, b.Path) })
	return m
}

// Repartition returns a plan with the manifest's partitioning into layers, or
// false if the manifest does not assign all of its entries to layers, or if a layer
// has none.
func (m Manifest) Repartition(plan Plan) (Plan, bool) {
	index, layers := m.Index(), make([][]Entry, len(m.Layers))
	for _, e := range plan.Entries() {
		at, exists := index[e.Path]
		if !exists || at.Layer < 0 || at.Layer >= len(layers) || e.Type != File && at.Layer != 0 {
			return Plan{}, false
		}
		layers[at.Layer] = append(layers[at.Layer], e)
	}
	plan.Layers = layers
	return plan, !slices.ContainsFunc(layers, func(entries []Entry) bool { return len(entries) == 0 })
}

// Difference describes how the source differs from what an image contains, or
// returns "" if it does not. Digests are compared only if both manifests have
// them, so that a manifest without digests still finds all other differences.
func Difference(image, source Manifest) string {
	if !image.Patterns.Equal(source.Patterns) {
		return "the patterns in spec.build.include, spec.build.exclude or " + IgnoreFile + " were changed"
	}
	before := image.Index()
	var differences []string
	if image.Dir != source.Dir {
		differences = append(differences, fmt.Sprintf("the model is at %q instead of %q", "/"+cmp.Or(image.Dir, ModelDir), "/"+cmp.Or(source.Dir, ModelDir)))
	}
	for _, now := range source.Entries {
		was, exists := before[now.Path]
		delete(before, now.Path)
		if !exists {
			differences = append(differences, fmt.Sprintf("%q was added", now.Path))
			continue
		}
		if was.SHA256 == "" || now.SHA256 == "" {
			was.SHA256, now.SHA256 = "", ""
		}
		was.Layer, now.Layer = 0, 0
		if was != now {
			differences = append(differences, fmt.Sprintf("%q was changed", now.Path))
		}
	}
	for removed := range before {
		differences = append(differences, fmt.Sprintf("%q was removed", removed))
	}
	if len(differences) == 0 {
		return ""
	}
	slices.Sort(differences)
	if more := len(differences) - 1; more > 0 {
		return fmt.Sprintf("%s, and %d more", differences[0], more)
	}
	return differences[0]
}

// HasDigests reports whether the manifest has the SHA-256 of every file.
func (m Manifest) HasDigests() bool {
	return !slices.ContainsFunc(m.Entries, func(e ManifestEntry) bool { return e.Type == File && e.SHA256 == "" })
}

// FileWithoutDigest returns the path of a file whose content the manifest does not
// identify, or "". The digest of a layer identifies its files, too.
func (m Manifest) FileWithoutDigest() string {
	without := slices.IndexFunc(m.Entries, func(e ManifestEntry) bool { return e.Type == File && e.SHA256 == "" })
	if m.Streamed || without < 0 {
		return ""
	}
	return m.Entries[without].Path
}

// Equal reports whether two manifests say the same.
func (m Manifest) Equal(other Manifest) bool {
	return m.Dir == other.Dir && m.Patterns.Equal(other.Patterns) && m.Streamed == other.Streamed &&
		slices.Equal(m.Entries, other.Entries) && slices.Equal(m.Layers, other.Layers)
}

// Index holds the entries of a manifest by path.
type Index map[string]ManifestEntry

// Has reports whether the index contains all of these entries, as far as can be
// determined without reading files.
func (i Index) Has(entries []Entry) bool {
	return !slices.ContainsFunc(entries, func(e Entry) bool {
		was, exists := i[e.Path]
		return !exists || was.Type != e.Type || was.Size != e.Size || was.Mode != e.Mode || was.Link != e.Link
	})
}

// Resolve returns the entry that a path leads to, as Tree.Resolve does.
func (i Index) Resolve(name string) (ManifestEntry, error) {
	at, err := resolve(name, func(at string) (node, bool) {
		e, exists := i[at]
		return node{e.Type, e.Link}, exists
	})
	return i[at], err
}

// Index returns the manifest's entries by path.
func (m Manifest) Index() Index {
	entries := make(Index, len(m.Entries))
	for _, e := range m.Entries {
		entries[e.Path] = e
	}
	return entries
}
