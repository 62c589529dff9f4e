package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAcquireLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquireLock(path, "/src/modelkiln")
	require.NoError(t, err)

	_, err = acquireLock(path, "/src/other")
	require.ErrorContains(t, err, "the cluster is being started or stopped by another run (process ")
	require.ErrorContains(t, err, ", of /src/modelkiln); wait until that run has finished")

	first.release()
	second, err := acquireLock(path, "/src/other")
	require.NoError(t, err, "the file of a released lock can be locked")
	second.remove()
	assert.NoFileExists(t, path)
}

func TestIsSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	old, err := os.Create(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = old.Close() })
	assert.True(t, isSameFile(old, path))

	require.NoError(t, os.Remove(path))
	assert.False(t, isSameFile(old, path), "the file was removed")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	assert.False(t, isSameFile(old, path), "the file was replaced")
}

func TestAcquireLockFails(t *testing.T) {
	_, err := acquireLock("/no/such/directory/lock", "/src/modelkiln")
	require.ErrorContains(t, err, "cannot open the lock /no/such/directory/lock")
}
