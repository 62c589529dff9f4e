package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInstallProgramReplacesTheFile(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "nfs-stand-in"), filepath.Join(t.TempDir(), "sbin", "mount.nfs")
	for _, content := range []string{"a longer program", "a program"} {
		require.NoError(t, os.WriteFile(from, []byte(content), 0o755))
		require.NoError(t, installProgram(from, to))
		got, err := os.ReadFile(to)
		require.NoError(t, err)
		assert.Equal(t, content, string(got))
		info, err := os.Stat(to)
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&0o111, "it is executable")
	}
}

func TestStandInsAreProgramsOfThisModule(t *testing.T) {
	for _, each := range standIns {
		assert.FileExists(t, filepath.Join("..", "..", each.program, "main.go"))
	}
}
