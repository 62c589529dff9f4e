package logfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCreateKeepsThePreviousLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "kubelet.log")
	for _, text := range []string{"first", "second", "third"} {
		log, err := Create(path)
		require.NoError(t, err)
		_, err = log.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, log.Close())
	}
	for name, want := range map[string]string{path: "third", path + ".1": "second"} {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("1\n2\n3\n"), 0o644))
	tests := map[string]struct {
		lines int
		want  string
	}{
		"the last line":      {lines: 1, want: "3"},
		"the last two lines": {lines: 2, want: "2\n3"},
		"a file with fewer":  {lines: 10, want: "1\n2\n3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, Tail(path, tt.lines))
		})
	}
}
