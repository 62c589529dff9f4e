package console

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func content(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(raw)
}

func TestProgress(t *testing.T) {
	t.Run("writes N/M at most once a second", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "progress")
		p := NewProgress(file, 40, io.Discard)
		p.done = 10
		_, err := p.Write(make([]byte, 10))
		require.NoError(t, err)
		assert.Equal(t, "20/40\n", content(t, file))

		_, err = p.Write(make([]byte, 10))
		require.NoError(t, err)
		assert.Equal(t, "20/40\n", content(t, file))
		p.lastWrite = p.lastWrite.Add(-time.Second)
		_, err = p.Write(make([]byte, 10))
		require.NoError(t, err)
		assert.Equal(t, "40/40\n", content(t, file))
		assert.Equal(t, int64(40), p.Done())
	})
	t.Run("logs the rate and the time left", func(t *testing.T) {
		var log strings.Builder
		p := NewProgress("", 4<<20, &log)
		p.start, p.lastLog = p.start.Add(-20*time.Second), p.lastLog.Add(-20*time.Second)
		p.Add(1 << 20)
		assert.Equal(t, "1.0 MiB of 4.0 MiB, 51.2 KiB/s, about 1m0s left\n", log.String())
	})
	t.Run("writes everything as done when complete", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "progress")
		p := NewProgress(file, 40, io.Discard)
		p.Complete()
		assert.Equal(t, "40/40\n", content(t, file))
	})

	dir := t.TempDir()
	tests := map[string]struct {
		file        string
		done, total int64
	}{
		"Argo names no file":         {total: 40},
		"the file cannot be written": {file: dir, total: 40},
		"the model is empty":         {file: filepath.Join(dir, "a")},
		"a file has grown":           {file: filepath.Join(dir, "b"), done: 39, total: 40},
	}
	for name, tt := range tests {
		t.Run("fails nothing when "+name, func(t *testing.T) {
			p := NewProgress(tt.file, tt.total, io.Discard)
			p.done = tt.done
			n, err := p.Write(make([]byte, 10))
			require.NoError(t, err)
			assert.Equal(t, 10, n)
		})
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
