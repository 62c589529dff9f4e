package source

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
)

const card = "---\nlicense: mit\n---\n"

func TestReadFacts(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		want []v1alpha1.LineageFact
	}{
		"a file": {
			make: func(t *testing.T, dir string) { put(t, dir, "README.md", card) },
			want: []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "mit", Source: "README.md"}},
		},
		"a link to a file": {
			make: func(t *testing.T, dir string) {
				put(t, dir, "docs/card.md", card)
				require.NoError(t, os.Symlink("docs/card.md", filepath.Join(dir, "README.md")))
			},
			want: []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "mit", Source: "README.md"}},
		},
		"a link to a directory": {
			make: func(t *testing.T, dir string) {
				put(t, dir, "docs/card.md", card)
				require.NoError(t, os.Symlink("docs", filepath.Join(dir, "README.md")))
			},
		},
		"a directory":  {make: func(t *testing.T, dir string) { put(t, dir, "README.md/card.md", card) }},
		"other files":  {make: func(t *testing.T, dir string) { put(t, dir, "w.bin", card) }},
		"a lower file": {make: func(t *testing.T, dir string) { put(t, dir, "docs/README.md", card) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, dir)
			got, err := ReadFacts(t.Context(), open(t, dir), plan(t, dir))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.Facts)
		})
	}
}

// What is not packaged states nothing about the image.
func TestReadFactsOfExcludedFile(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "README.md", card)
	put(t, dir, "w.bin", "weights")
	storage := Storage{Mount: dir, Patterns: layer.Patterns{Exclude: []string{"*.md"}}}
	files, planned, err := planOfStorage(t, &storage)
	require.NoError(t, err)
	got, err := ReadFacts(t.Context(), files, planned)
	require.NoError(t, err)
	assert.Empty(t, got.Facts)
}

func TestReadFactsAfterAChange(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "README.md", card)
	put(t, dir, "config.json", `{"model_type": "llama"}`)
	planned := plan(t, dir)
	require.NoError(t, os.Truncate(filepath.Join(dir, "config.json"), 1))
	got, err := ReadFacts(t.Context(), open(t, dir), planned)
	assertReason(t, v1alpha1.ReasonSourceChanging, err)
	assert.Len(t, got.Facts, 1, "what was read before counts")
}
