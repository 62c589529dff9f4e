package spirals

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTrainInto(t *testing.T) {
	var last Progress
	dir := t.TempDir()
	require.NoError(t, TrainInto(dir, func(p Progress) { last = p }))
	assert.Greater(t, last.Accuracy, 0.95)

	raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	length := binary.LittleEndian.Uint64(raw)
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	require.NoError(t, json.Unmarshal(raw[8:8+length], &header))
	end := 0
	for _, entry := range header {
		end = max(end, entry.Offsets[1])
	}
	assert.Equal(t, len(raw), 8+int(length)+end)
}
