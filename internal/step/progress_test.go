package step

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProgressIsToldAsArgoReadsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "progress")
	p := &progress{file: file, done: 10, total: 40}
	_, err := p.Write(make([]byte, 10))
	require.NoError(t, err)
	assert.Equal(t, "20/40\n", text(t, file))

	_, err = p.Write(make([]byte, 10))
	require.NoError(t, err)
	assert.Equal(t, "20/40\n", text(t, file), "not more often than once a second")
	p.written = p.written.Add(-time.Second)
	_, err = p.Write(make([]byte, 10))
	require.NoError(t, err)
	assert.Equal(t, "40/40\n", text(t, file))
}

func TestProgressThatCannotBeToldEndsNothing(t *testing.T) {
	folder := t.TempDir()
	tests := map[string]progress{
		"there is nobody to tell":     {total: 40},
		"the file cannot be written":  {file: folder, total: 40},
		"there is nothing to package": {file: filepath.Join(folder, "a")},
		"a file has grown":            {file: filepath.Join(folder, "b"), done: 39, total: 40},
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			n, err := p.Write(make([]byte, 10))
			require.NoError(t, err)
			assert.Equal(t, 10, n)
		})
	}
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func text(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(raw)
}
