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

func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "testdata", "a.txt")

	setUpdate(t, true)
	Assert(t, path, "text\n<begin>\nold\n<end>\nmore\n")
	AssertSection(t, path, "<begin>", "<end>", "new\n")

	setUpdate(t, false)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "text\n<begin>\nnew\n<end>\nmore\n", string(got))
	Assert(t, path, got)
	AssertSection(t, path, "<begin>", "<end>", "new\n")
}

func TestAssertFailsWhenTheFileDiffers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.txt")
	require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o644))
	setUpdate(t, false)

	probe := &testing.T{}
	Assert(probe, path, "new\n")
	assert.True(t, probe.Failed())
}
