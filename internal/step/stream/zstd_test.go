package stream

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// newTestArchive returns the archive of a file of 3 MiB.
func newTestArchive(t *testing.T) source.Archive {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "w.bin")
	require.NoError(t, os.WriteFile(file, []byte("weights"), 0o600))
	require.NoError(t, os.Truncate(file, 3<<20))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, root.Close()) })
	listing, err := source.List(t.Context(), root)
	require.NoError(t, err)
	plan, err := layer.NewPlan(listing)
	require.NoError(t, err)
	archive, err := newArchive(root, plan, 0)
	require.NoError(t, err)
	return archive
}

func TestZstdBlob(t *testing.T) {
	archive := newTestArchive(t)
	blob := &zstdBlob{archive: archive, onRead: func(int64) {}}
	read := func(offset int64) []byte {
		content := blob.Open(t.Context(), offset)
		all, err := io.ReadAll(content)
		require.NoError(t, err)
		require.NoError(t, content.Close())
		return all
	}
	full := read(0)

	t.Run("has the digest of the archive", func(t *testing.T) {
		want, err := diffIDOf(t.Context(), archive)
		require.NoError(t, err)
		assert.Equal(t, want, blob.diffID)
	})
	t.Run("can be read from any offset", func(t *testing.T) {
		for _, offset := range []int64{1, int64(len(full)) / 2, int64(len(full))} {
			assert.Equal(t, full[offset:], read(offset))
		}
	})
	t.Run("can be closed before its end", func(t *testing.T) {
		content := blob.Open(t.Context(), 0)
		_, err := content.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, content.Close())
	})
}
