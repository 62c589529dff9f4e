package layer

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewManifest(t *testing.T) {
	plan, err := NewPlan([]SourceEntry{dir("."), file("b", 1), file("a", DefaultSize), link("c", "b")})
	require.NoError(t, err)
	raw, err := json.Marshal(NewManifest(plan, map[string]string{"a": "aa", "b": "bb"}))
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
		{Path: ".", Type: Dir, Mode: 0o755},
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
		"the same without digests": {source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].SHA256 = ""
			return e
		})},
		"other content": {want: `"a" was changed`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].SHA256 = "ab"
			return e
		})},
		"another size without digests": {want: `"a" was changed`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].SHA256, e[1].Size = "", 2
			return e
		})},
		"another mode": {want: `"a" was changed`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[1].Mode = 0o755
			return e
		})},
		"another target": {want: `"b" was changed`, source: change(func(e []ManifestEntry) []ManifestEntry {
			e[2].Link = "."
			return e
		})},
		"an added entry": {want: `"c" was added`, source: change(func(e []ManifestEntry) []ManifestEntry {
			return append(e, ManifestEntry{Path: "c", Type: Dir})
		})},
		"a removed entry": {want: `"b" was removed`, source: change(func(e []ManifestEntry) []ManifestEntry { return e[:2] })},
		"several":         {want: `"." was removed, and 2 more`, source: Manifest{}},
		"other patterns": {
			want:   "the patterns in spec.build.include, spec.build.exclude or .modelkilnignore were changed",
			source: Manifest{Patterns: Patterns{Exclude: []string{"c"}}, Entries: image.Entries},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Difference(image, tt.source)) })
	}
}

// The patterns by which files were selected belong to a version. Images of earlier
// releases have none.
func TestManifestHasPatterns(t *testing.T) {
	plan, err := NewPlan([]SourceEntry{dir("."), file("a", 1)})
	require.NoError(t, err)
	without := NewManifest(plan, nil)
	plan.Patterns = Patterns{Include: []string{"a"}, Exclude: []string{"b", "c"}}
	with := NewManifest(plan, nil)

	assert.False(t, with.Equal(without))
	assert.NotEmpty(t, Difference(without, with))
	assert.NotEmpty(t, Difference(with, without))
	assert.Empty(t, Difference(with, with))
	raw, err := json.Marshal(with)
	require.NoError(t, err)
	assert.JSONEq(t, `{"include": ["a"], "exclude": ["b", "c"], "entries": [
		{"path": ".", "type": "dir", "mode": "0755"}, {"path": "a", "type": "file", "size": 1, "mode": "0644"}
	]}`, string(raw))
}

func TestManifestRepartition(t *testing.T) {
	plan, err := NewPlan([]SourceEntry{dir("."), file("a", DefaultSize), file("b", 1), file("c", DefaultSize)})
	require.NoError(t, err)
	manifest := NewManifest(plan.WithLimits(Limits{Size: 2 * DefaultSize, Layers: 9}), nil)
	manifest.Layers = make([]BuiltLayer, 2)

	got, known := manifest.Repartition(plan)

	require.True(t, known)
	assert.Equal(t, [][]string{{".", "a", "b"}, {"c"}}, [][]string{paths(got.Layers[0]), paths(got.Layers[1])})

	faults := map[string]func(){
		"no layers":                   func() { manifest.Layers = nil },
		"a missing file":              func() { manifest.Entries = manifest.Entries[:2] },
		"a layer that does not exist": func() { manifest.Entries[1].Layer = 2 },
		"a negative layer":            func() { manifest.Entries[1].Layer = -1 },
		"a directory in another layer than the first": func() { manifest.Entries[0].Layer = 1 },
	}
	intact := manifest
	for name, inject := range faults {
		t.Run(name, func(t *testing.T) {
			manifest = intact
			manifest.Entries = slices.Clone(intact.Entries)
			inject()
			_, known := manifest.Repartition(plan)
			assert.False(t, known)
		})
	}
}
