//go:build e2e

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/registries/content"
)

// directory is a directory on the node, which is this machine.
type directory string

// models is where tests create their directories: among the test cluster's own
// data, so that ending the cluster also removes what a killed test has left.
const models = "/var/lib/modelkiln-cluster/models"

// newDirectory creates a directory that is removed after the test.
func newDirectory(t *testing.T) directory {
	t.Helper()
	return newDirectoryIn(t, models)
}

// newDirectoryIn creates a directory in another that is removed after the test.
func newDirectoryIn(t *testing.T, parent string) directory {
	t.Helper()
	require.NoError(t, os.MkdirAll(parent, 0o755))
	dir, err := os.MkdirTemp(parent, "e2e-") //nolint:usetesting // It has to lie among the data of the cluster.
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	// As mkdir creates it: some of what reads a model is not root.
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // It holds no secret.
	return directory(dir)
}

// model creates a directory with a small model in it.
func model(t *testing.T) directory {
	t.Helper()
	dir := newDirectory(t)
	dir.write(t, "config.json", `{"layers": 2}`)
	dir.random(t, "weights/part-1.bin", 300_000)
	return dir
}

// claim creates a directory of exactly this name with these files, which is
// removed after the test. It takes over an existing directory only if an
// earlier run of this test, which was killed, can have left it: if it is a real
// directory and holds nothing but these files with this content.
func claim(t *testing.T, name string, files map[string]string) directory {
	t.Helper()
	dir := directory(name)
	there, err := os.Lstat(name)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
		require.True(t, there.IsDir(), "%s exists on this machine and is not a directory: move it away", name)
		ours := map[string]content.Entry{".": content.Directory}
		for at, text := range files {
			ours[at] = content.File(text)
			for parent := filepath.Dir(at); parent != "."; parent = filepath.Dir(parent) {
				ours[parent] = content.Directory
			}
		}
		for at, found := range dir.entries(t) {
			require.Equal(t, ours[at], found, "%s exists on this machine and is not this test's: move it away", dir.at(at))
		}
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(name)) })
	for at, text := range files {
		dir.write(t, at, text)
	}
	return dir
}

// at returns the path of a file in the directory.
func (f directory) at(name string) string { return filepath.Join(string(f), name) }

// write writes a file and creates its parent directories.
func (f directory) write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(f.at(name)), 0o755))
	require.NoError(t, os.WriteFile(f.at(name), []byte(content), 0o644))
}

// random writes a file that no compression makes smaller, as weights are.
func (f directory) random(t *testing.T, name string, size int64) {
	t.Helper()
	content.WriteRandom(t, f.at(name), size)
}

// entries returns what an image of the directory must hold, by path.
func (f directory) entries(t *testing.T) map[string]content.Entry {
	t.Helper()
	return content.OfDirectory(t, string(f))
}
