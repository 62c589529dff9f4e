package stream

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/step/console"
)

func TestTransfer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "progress")
	progress := console.NewProgress(file, 40, io.Discard)
	transfer := newTransfer(2, progress)

	transfer.set(0, 10)
	transfer.set(1, 10)
	assert.Equal(t, int64(20), progress.Done())
	transfer.set(0, 0)
	assert.Equal(t, int64(10), progress.Done(), "what an upload lost is not counted")

	transfer.complete()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "40/40\n", string(raw))
}
