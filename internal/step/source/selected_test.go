package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
)

// fakeStore is a store with the content of files by path.
type fakeStore struct {
	Files
	content map[string]string
	err     error
}

func (f fakeStore) List(context.Context) ([]layer.SourceEntry, error) {
	listing := []layer.SourceEntry{{Path: layer.RootDir, Mode: fs.ModeDir}, {Path: "logs", Mode: fs.ModeDir}}
	for _, name := range slices.Sorted(maps.Keys(f.content)) {
		if dir, isDir := strings.CutSuffix(name, "/"); isDir {
			listing = append(listing, layer.SourceEntry{Path: dir, Mode: fs.ModeDir})
			continue
		}
		listing = append(listing, layer.SourceEntry{Path: name, Size: int64(len(f.content[name])), ModTime: time.Unix(1, 0), Identity: "etag:" + name})
	}
	return listing, f.err
}

func (f fakeStore) Open(_ context.Context, planned layer.Entry, offset int64) (io.ReadCloser, error) {
	content := f.content[planned.Path]
	if planned.Size != int64(len(content)) || planned.Identity != "etag:"+planned.Path || planned.ModTime != time.Unix(1, 0).UnixNano() {
		return nil, Changing(planned.Path)
	}
	return io.NopCloser(strings.NewReader(content[offset:])), nil
}

func TestSelected(t *testing.T) {
	store := fakeStore{content: map[string]string{"model.gguf": "x", "logs/1": "x", "notes.txt": "x", layer.IgnoreFile: "logs/\n"}}
	patterns := layer.Patterns{Exclude: []string{"*.txt"}}
	first := &Selected{Files: store, Patterns: &patterns, FindsPatterns: true}
	want := layer.Patterns{Exclude: []string{"logs/", "*.txt"}}
	for range 2 {
		plan := planOfFiles(t, first)
		assert.Equal(t, []string{".", "model.gguf"}, plannedPaths(plan))
		assert.Equal(t, want, patterns, "the patterns of the file are added once")
	}

	// Later steps use the patterns that were found.
	store.content[layer.IgnoreFile] = "*.gguf"
	plan := planOfFiles(t, &Selected{Files: store, Patterns: &patterns})
	assert.Equal(t, []string{".", "model.gguf"}, plannedPaths(plan))
	assert.Equal(t, want, patterns)
}

func planOfFiles(t *testing.T, files Files) layer.Plan {
	t.Helper()
	listing, err := files.List(t.Context())
	require.NoError(t, err)
	plan, err := layer.NewPlan(listing)
	require.NoError(t, err)
	return plan
}

func TestSelectedWithoutIgnoreFile(t *testing.T) {
	var patterns layer.Patterns
	plan := planOfFiles(t, &Selected{Files: fakeStore{content: map[string]string{"model.gguf": "x"}}, Patterns: &patterns, FindsPatterns: true})
	assert.Equal(t, []string{".", "logs", "model.gguf"}, plannedPaths(plan))
	assert.Equal(t, layer.Patterns{}, patterns)
}

func TestSelectedErrors(t *testing.T) {
	tests := map[string]struct {
		content  map[string]string
		patterns layer.Patterns
		found    bool
		reason   string
	}{
		"a pattern of the ModelVersion": {patterns: layer.Patterns{Include: []string{"["}}, reason: v1alpha1.ReasonInvalidSpec},
		"a pattern that was found":      {patterns: layer.Patterns{Include: []string{"["}}, found: true, reason: v1alpha1.ReasonInvalidSpec},
		"a pattern of the file":         {content: map[string]string{layer.IgnoreFile: "["}, reason: v1alpha1.ReasonSourceUnsafe},
		"a large file":                  {content: map[string]string{layer.IgnoreFile: strings.Repeat("#", layer.MaxIgnoreFileSize+1)}, reason: v1alpha1.ReasonSourceUnsafe},
		"a directory":                   {content: map[string]string{layer.IgnoreFile + "/": ""}, reason: v1alpha1.ReasonSourceUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			patterns := tt.patterns
			_, err := (&Selected{Files: fakeStore{content: tt.content}, Patterns: &patterns, FindsPatterns: !tt.found}).List(t.Context())
			assertReason(t, tt.reason, err)
			assert.Equal(t, tt.patterns, patterns)
		})
	}
	t.Run("the store", func(t *testing.T) {
		broken := errors.New("broken")
		_, err := (&Selected{Files: fakeStore{err: broken}, Patterns: &layer.Patterns{}}).List(t.Context())
		require.ErrorIs(t, err, broken)
	})
}
