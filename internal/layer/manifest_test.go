package layer

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManifestOfAPlan(t *testing.T) {
	plan, err := Make([]Found{folder("."), file("b", 1), file("a", DefaultSize), link("c", "b")})
	require.NoError(t, err)
	raw, err := json.Marshal(ManifestOf(plan, map[string]string{"a": "aa", "b": "bb"}))
	require.NoError(t, err)
	assert.JSONEq(t, `{"entries": [
		{"path": ".", "type": "dir", "mode": "0755"},
		{"path": "a", "type": "file", "size": 67108864, "mode": "0644", "sha256": "aa", "layer": 1},
		{"path": "b", "type": "file", "size": 1, "mode": "0644", "sha256": "bb"},
		{"path": "c", "type": "symlink", "link": "b"}
	]}`, string(raw))
}

func TestDifference(t *testing.T) {
	image := Manifest{Entries: []ManifestEntry{
		{Path: ".", Type: Folder, Mode: 0o755},
		{Path: "a", Type: File, Size: 1, Mode: 0o644, SHA256: "aa"},
		{Path: "b", Type: Symlink, Link: "a"},
	}}
	change := func(edit func(entries []ManifestEntry) []ManifestEntry) Manifest {
		return Manifest{Entries: edit(append([]ManifestEntry{}, image.Entries...))}
	}
	tests := map[string]struct {
		source Manifest
		want   string
	}{
		"the same": {source: image},
		"the same, without digests": {source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].SHA256 = ""
			return e
		})},
		"other content": {want: `"a" is another`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].SHA256 = "ab"
			return e
		})},
		"another size, without digests": {want: `"a" is another`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].SHA256, e[1].Size = "", 2
			return e
		})},
		"another mode": {want: `"a" is another`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].Mode = 0o755
			return e
		})},
		"another target": {want: `"b" is another`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[2].Link = "."
			return e
		})},
		"one more": {want: `"c" is new`, source: change(func(e []ManifestEntry) []ManifestEntry {
			return append(e, ManifestEntry{Path: "c", Type: Folder})
		})},
		"one gone": {want: `"b" is gone`, source: change(func(e []ManifestEntry) []ManifestEntry { return e[:2] })},
		"several":  {want: `"." is gone, and 2 more`, source: Manifest{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Difference(image, tt.source)) })
	}
}

func TestAManifestSpreadsAPlanAsTheImageHasIt(t *testing.T) {
	plan, err := Make([]Found{folder("."), file("a", DefaultSize), file("b", 1), file("c", DefaultSize)})
	require.NoError(t, err)
	held := ManifestOf(plan.Within(Limits{Size: 2 * DefaultSize, Layers: 9}), nil)
	held.Layers = make([]BuiltLayer, 2)

	got, known := held.Spread(plan)

	require.True(t, known)
	assert.Equal(t, [][]string{{".", "a", "b"}, {"c"}}, [][]string{paths(got.Layers[0]), paths(got.Layers[1])})

	damage := map[string]func(){
		"it names no layers":                       func() { held.Layers = nil },
		"it lists one file less":                   func() { held.Entries = held.Entries[:2] },
		"a layer that is not there":                func() { held.Entries[1].Layer = 2 },
		"a layer below the first":                  func() { held.Entries[1].Layer = -1 },
		"a folder in another layer than the first": func() { held.Entries[0].Layer = 1 },
	}
	whole := held
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			held = whole
			held.Entries = slices.Clone(whole.Entries)
			spoil()
			_, known := held.Spread(plan)
			assert.False(t, known)
		})
	}
}
