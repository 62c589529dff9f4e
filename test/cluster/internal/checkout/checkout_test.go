package checkout

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newClone creates a directory that looks like a clone.
func newClone(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "test", "cluster"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "test", "cluster", "go.mod"), nil, 0o644))
	return root
}

func TestFind(t *testing.T) {
	root := newClone(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(root, link))

	tests := map[string]struct{ dir string }{
		"the root":                    {dir: root},
		"a subdirectory":              {dir: filepath.Join(root, "test", "cluster")},
		"a path with a symbolic link": {dir: filepath.Join(link, "test")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Find(tt.dir)
			require.NoError(t, err)
			assert.Equal(t, root, got.Root)
		})
	}
}

func TestFindOutsideOfAClone(t *testing.T) {
	dir := t.TempDir()
	_, err := Find(dir)
	require.ErrorContains(t, err, dir+" is not in a clone of the Modelkiln repository")
}

func TestFindWithModelkilnCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("MODELKILN_CACHE", cache)
	got, err := Find(newClone(t))
	require.NoError(t, err)
	assert.Equal(t, cache, got.Cache)
}

func TestFindWithoutACacheDirectory(t *testing.T) {
	t.Setenv("MODELKILN_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	_, err := Find(newClone(t))
	require.ErrorContains(t, err, "set HOME or MODELKILN_CACHE")
}

func TestIsRoot(t *testing.T) {
	root := newClone(t)
	assert.True(t, IsRoot(root))
	require.NoError(t, os.RemoveAll(root))
	assert.False(t, IsRoot(root), "the clone was removed")
}
