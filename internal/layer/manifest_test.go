package layer

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManifestOfAPlan(t *testing.T) {
	plan, err := Make([]Found{folder("."), file("b", 1), file("a", OwnLayerSize), link("c", "b")})
	require.NoError(t, err)
	raw, err := json.Marshal(ManifestOf(plan, map[string]string{"a": "aa", "b": "bb"}))
	require.NoError(t, err)
	assert.JSONEq(t, `{"entries": [
		{"path": ".", "type": "dir", "mode": "0755"},
		{"path": "a", "type": "file", "size": 67108864, "mode": "0644", "sha256": "aa"},
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
