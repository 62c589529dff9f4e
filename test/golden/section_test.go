package golden

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func setUpdate(t *testing.T, value bool) {
	t.Helper()
	before := *update
	*update = value
	t.Cleanup(func() { *update = before })
}

func TestAssertSection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.md")
	require.NoError(t, os.WriteFile(file, []byte("text\n<begin>\nold\n<end>\nmore\n"), 0o644))

	setUpdate(t, true)
	AssertSection(t, file, "<begin>", "<end>", "new\n")

	setUpdate(t, false)
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "text\n<begin>\nnew\n<end>\nmore\n", string(got))
	AssertSection(t, file, "<begin>", "<end>", "new\n")

	probe := &testing.T{}
	AssertSection(probe, file, "<begin>", "<end>", "other\n")
	assert.True(t, probe.Failed())
}
