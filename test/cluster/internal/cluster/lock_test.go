package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOneRunAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquireLock(path, "/src/modelkiln")
	require.NoError(t, err)

	_, err = acquireLock(path, "/src/other")
	require.ErrorContains(t, err, "another run brings the cluster up or down (process ")
	require.ErrorContains(t, err, ", of /src/modelkiln); wait until it has ended")

	first.release()
	second, err := acquireLock(path, "/src/other")
	require.NoError(t, err, "what is left of a run that ended is no obstacle")
	second.remove()
	assert.NoFileExists(t, path)
}

func TestTheLockThatWasRemovedIsNotTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	old, err := os.Create(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = old.Close() })
	assert.True(t, isAt(old, path))

	require.NoError(t, os.Remove(path))
	assert.False(t, isAt(old, path), "the file is gone")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	assert.False(t, isAt(old, path), "another took its place")
}

func TestALockThatCannotBeMadeIsNamed(t *testing.T) {
	_, err := acquireLock("/no/such/folder/lock", "/src/modelkiln")
	require.ErrorContains(t, err, "cannot open the lock /no/such/folder/lock")
}
