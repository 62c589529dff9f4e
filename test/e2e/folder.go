//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// folder is a folder on the node, which is this machine.
type folder string

// models is where tests make their folders: among the test cluster's own data,
// so that ending the cluster removes also what a killed test has left.
const models = "/var/lib/modelkiln-cluster/models"

// newFolder makes a folder that goes with the test.
func newFolder(t *testing.T) folder {
	t.Helper()
	return newFolderIn(t, models)
}

// newFolderIn makes a folder in another that goes with the test.
func newFolderIn(t *testing.T, parent string) folder {
	t.Helper()
	require.NoError(t, os.MkdirAll(parent, 0o755))
	dir, err := os.MkdirTemp(parent, "e2e-") //nolint:usetesting // It has to lie among the data of the cluster.
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	// As mkdir makes it. Not everything that reads a model is root.
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // It holds no secret.
	return folder(dir)
}

// model makes a folder with a small model in it.
func model(t *testing.T) folder {
	t.Helper()
	dir := newFolder(t)
	dir.write(t, "config.json", `{"layers": 2}`)
	dir.random(t, "weights/part-1.bin", 300_000)
	return dir
}

// claim makes a folder of that very name, with these files, that goes with the
// test. A folder that exists already is taken over only if an earlier run of
// this test, which was killed, can have left it: if it is a real folder and
// holds nothing but these files, as they are written here.
func claim(t *testing.T, name string, files map[string]string) folder {
	t.Helper()
	dir := folder(name)
	there, err := os.Lstat(name)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
		require.True(t, there.IsDir(), "%s exists on this machine and is no folder: move it away", name)
		ours := map[string]entry{".": aFolder}
		for at, content := range files {
			ours[at] = aFile(content)
			for parent := filepath.Dir(at); parent != "."; parent = filepath.Dir(parent) {
				ours[parent] = aFolder
			}
		}
		for at, found := range dir.entries(t) {
			require.Equal(t, ours[at], found, "%s exists on this machine and is not this test's: move it away", dir.at(at))
		}
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(name)) })
	for at, content := range files {
		dir.write(t, at, content)
	}
	return dir
}

// at is the path of something in the folder.
func (f folder) at(name string) string { return filepath.Join(string(f), name) }

// write writes a file, and the folders that it lies in.
func (f folder) write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(f.at(name)), 0o755))
	require.NoError(t, os.WriteFile(f.at(name), []byte(content), 0o644))
}

// random writes a file that no compression makes smaller, as weights are.
func (f folder) random(t *testing.T, name string, size int64) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(f.at(name)), 0o755))
	file, err := os.Create(f.at(name))
	require.NoError(t, err)
	source := rand.NewChaCha8(sha256.Sum256([]byte(f.at(name))))
	_, err = io.CopyN(file, source, size)
	require.NoError(t, errors.Join(err, file.Close()))
}

// entries are what an image of the folder has to hold, by path.
func (f folder) entries(t *testing.T) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	require.NoError(t, filepath.WalkDir(string(f), func(at string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(string(f), at)
		if err != nil {
			return err
		}
		entries[name], err = entryAt(at, found)
		return err
	}))
	return entries
}

func entryAt(at string, found fs.DirEntry) (entry, error) {
	switch {
	case found.IsDir():
		return aFolder, nil
	case found.Type() == fs.ModeSymlink:
		target, err := os.Readlink(at)
		return aLink(target), err
	case !found.Type().IsRegular():
		return entry{}, fmt.Errorf("%s is no file, no folder and no link", at)
	}
	content, err := os.Open(at)
	if err != nil {
		return entry{}, err
	}
	defer content.Close()
	sum, err := sumOfReader(content)
	return entry{Type: fileEntry, Mode: 0o644, SHA256: sum}, err
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func sumOfReader(content io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
