package step

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProgressIsToldAsArgoReadsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "progress")
	p := newProgress(file, 40, io.Discard)
	p.done = 10
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
	tests := map[string]struct {
		file        string
		done, total int64
	}{
		"there is nobody to tell":     {total: 40},
		"the file cannot be written":  {file: folder, total: 40},
		"there is nothing to package": {file: filepath.Join(folder, "a")},
		"a file has grown":            {file: filepath.Join(folder, "b"), done: 39, total: 40},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newProgress(tt.file, tt.total, io.Discard)
			p.done = tt.done
			n, err := p.Write(make([]byte, 10))
			require.NoError(t, err)
			assert.Equal(t, 10, n)
		})
	}
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestHowFarATransferIsIsSaidInLines(t *testing.T) {
	var out strings.Builder
	file := filepath.Join(t.TempDir(), "progress")
	p := newProgress(file, 4<<20, &out)
	p.began = p.began.Add(-20 * time.Second)
	p.said = p.said.Add(-20 * time.Second)
	far := newTransfer(2, p)

	far.at(0, 1<<20)
	far.at(1, 1<<20)
	far.at(0, 0)

	assert.Equal(t, "1.0 MiB of 4.0 MiB, 51.2 KiB/s, about 1m0s left\n", out.String())
	assert.Equal(t, int64(1<<20), p.done, "what was lost is not counted")
	far.end()
	assert.Equal(t, fmt.Sprintf("%d/%d\n", 4<<20, 4<<20), text(t, file))
}

func text(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(raw)
}
