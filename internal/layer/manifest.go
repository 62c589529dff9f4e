package layer

import (
	"cmp"
	"fmt"
	"slices"
)

// ManifestFolder and ManifestFile say where an image keeps the manifest of its
// model, relative to the image's root.
const (
	ManifestFolder = ".modelkiln"
	ManifestFile   = ".modelkiln/manifest.json"
)

// Manifest lists what an image holds of a model. It is written into the image,
// so that a later build of the same version can tell whether its source is
// still the same without pulling the model. It has no times: a file that was
// only touched is the same.
type Manifest struct {
	// Entries are in the order of their paths.
	Entries []ManifestEntry `json:"entries"`
	// Layers are the image's layers that hold them, as the builder wrote them.
	// By them a later build can tell whether the whole image was pushed.
	Layers []BuiltLayer `json:"layers,omitempty"`
	// Streamed says that each of Layers is the Archive of the entries that it
	// has, so that its digest is that of the files. The entries need none of
	// their own then.
	Streamed bool `json:"streamed,omitempty"`
}

// ManifestEntry is one file, folder or link of a model.
type ManifestEntry struct {
	Path string `json:"path"`
	Type Type   `json:"type"`
	// Size is a file's size in bytes.
	Size int64 `json:"size,omitempty"`
	Mode Mode  `json:"mode,omitempty"`
	// SHA256 is the digest of a file's content, in hexadecimal.
	SHA256 string `json:"sha256,omitempty"`
	// Link is a symbolic link's target.
	Link string `json:"link,omitempty"`
	// Layer is which of a streamed manifest's layers holds it, from 0 on. How a
	// model is spread over layers may be configured, and is none of its content.
	Layer int `json:"layer,omitempty"`
}

// ManifestOf returns the manifest of a plan, with the digests of its files by
// path. Files that digests does not know have none.
func ManifestOf(plan Plan, digests map[string]string) Manifest {
	m := Manifest{}
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

// Spread returns a plan spread over layers as the manifest has them, or false
// when the manifest does not say where all of it is.
func (m Manifest) Spread(plan Plan) (Plan, bool) {
	held, layers := m.Held(), make([][]Entry, len(m.Layers))
	for _, e := range plan.Entries() {
		at, there := held[e.Path]
		if !there || at.Layer < 0 || at.Layer >= len(layers) || e.Type != File && at.Layer != 0 {
			return Plan{}, false
		}
		layers[at.Layer] = append(layers[at.Layer], e)
	}
	plan.Layers = layers
	return plan, true
}

// Difference says in words how the source differs from what an image holds,
// or "" when it does not. Digests are compared where both manifests have them,
// so that a manifest without digests finds the differences that need none.
func Difference(image, source Manifest) string {
	before := image.Held()
	var differences []string
	for _, now := range source.Entries {
		was, there := before[now.Path]
		delete(before, now.Path)
		if !there {
			differences = append(differences, fmt.Sprintf("%q is new", now.Path))
			continue
		}
		if was.SHA256 == "" || now.SHA256 == "" {
			was.SHA256, now.SHA256 = "", ""
		}
		was.Layer, now.Layer = 0, 0
		if was != now {
			differences = append(differences, fmt.Sprintf("%q is another", now.Path))
		}
	}
	for gone := range before {
		differences = append(differences, fmt.Sprintf("%q is gone", gone))
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

// Held is what an image holds of a model, by path.
type Held map[string]ManifestEntry

// Has says whether all of these entries are held, as far as can be told without
// reading files.
func (h Held) Has(entries []Entry) bool {
	return !slices.ContainsFunc(entries, func(e Entry) bool {
		was, there := h[e.Path]
		return !there || was.Type != e.Type || was.Size != e.Size || was.Mode != e.Mode || was.Link != e.Link
	})
}

// Held is what the manifest lists.
func (m Manifest) Held() Held {
	entries := make(Held, len(m.Entries))
	for _, e := range m.Entries {
		entries[e.Path] = e
	}
	return entries
}
