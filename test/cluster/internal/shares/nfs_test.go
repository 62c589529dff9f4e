package shares

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mounted is a recorded call of Bind.
type mounted struct {
	dir, target string
	readOnly    bool
}

// record returns a Bind that only records its calls.
func record(calls *[]mounted) Bind {
	return func(dir, target string, readOnly bool) error {
		*calls = append(*calls, mounted{dir, target, readOnly})
		return nil
	}
}

func TestMountNFS(t *testing.T) {
	root := t.TempDir()
	models := filepath.Join(root, "nas.example.com", "exports", "my models")
	require.NoError(t, os.MkdirAll(models, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "fd00::7", "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(models, "file"), nil, 0o644))
	tests := map[string]struct {
		args    []string
		want    mounted
		wantErr string
	}{
		"a directory":            {args: []string{"nas.example.com:/exports/my models", "/mnt", "-o", "rw"}, want: mounted{models, "/mnt", false}},
		"a directory, read-only": {args: []string{"nas.example.com:/exports/my models", "/mnt", "-o", "hard,ro"}, want: mounted{models, "/mnt", true}},
		"a server's root":        {args: []string{"nas.example.com:/", "/mnt"}, want: mounted{filepath.Join(root, "nas.example.com"), "/mnt", false}},
		"an IPv6 address":        {args: []string{"[fd00::7]:/a", "/mnt"}, want: mounted{filepath.Join(root, "fd00::7", "a"), "/mnt", false}},
		"a directory that does not exist": {
			args:    []string{"nas.example.com:/exports/other", "/mnt"},
			wantErr: "mount.nfs: mounting nas.example.com:/exports/other failed, reason given by server: No such file or directory",
		},
		"a file":              {args: []string{"nas.example.com:/exports/my models/file", "/mnt"}, wantErr: "is not a directory"},
		"a directory with ..": {args: []string{"nas.example.com:/../../etc", "/mnt"}, wantErr: "is not a valid server and directory"},
		"a server with ..":    {args: []string{"..:/etc", "/mnt"}, wantErr: "is not a valid server and directory"},
		"no directory":        {args: []string{"nas.example.com", "/mnt"}, wantErr: "not in 'host:dir' format"},
		"no mount point":      {args: []string{"nas.example.com:/"}, wantErr: "no mount point provided"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []mounted
			err := MountNFS(tt.args, root, record(&got))
			if tt.wantErr != "" {
				require.ErrorContains(t, err, tt.wantErr)
				assert.Empty(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []mounted{tt.want}, got)
		})
	}
}

func TestMountNFSFails(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "nas"), 0o755))
	failing := func(string, string, bool) error { return errors.New("no such device") }
	require.EqualError(t, MountNFS([]string{"nas:/", "/mnt"}, root, failing), "mount.nfs: no such device")
}
