package shares

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mounted is what a stand-in mounts, instead of mounting it.
type mounted struct {
	folder, target string
	readOnly       bool
}

// record gives a Bind that only writes down what it is called with.
func record(into *[]mounted) Bind {
	return func(folder, target string, readOnly bool) error {
		*into = append(*into, mounted{folder, target, readOnly})
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
		"a folder":            {args: []string{"nas.example.com:/exports/my models", "/mnt", "-o", "rw"}, want: mounted{models, "/mnt", false}},
		"a folder, read-only": {args: []string{"nas.example.com:/exports/my models", "/mnt", "-o", "hard,ro"}, want: mounted{models, "/mnt", true}},
		"a server's root":     {args: []string{"nas.example.com:/", "/mnt"}, want: mounted{filepath.Join(root, "nas.example.com"), "/mnt", false}},
		"an address":          {args: []string{"[fd00::7]:/a", "/mnt"}, want: mounted{filepath.Join(root, "fd00::7", "a"), "/mnt", false}},
		"a folder that is not there": {
			args:    []string{"nas.example.com:/exports/other", "/mnt"},
			wantErr: "mount.nfs: mounting nas.example.com:/exports/other failed, reason given by server: No such file or directory",
		},
		"a file":                {args: []string{"nas.example.com:/exports/my models/file", "/mnt"}, wantErr: "is no folder"},
		"a folder that goes up": {args: []string{"nas.example.com:/../../etc", "/mnt"}, wantErr: "is no server and folder"},
		"a server that goes up": {args: []string{"..:/etc", "/mnt"}, wantErr: "is no server and folder"},
		"no folder":             {args: []string{"nas.example.com", "/mnt"}, wantErr: "not in 'host:dir' format"},
		"no mount point":        {args: []string{"nas.example.com:/"}, wantErr: "no mount point provided"},
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

func TestMountNFSSaysThatItCouldNotMount(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "nas"), 0o755))
	failing := func(string, string, bool) error { return errors.New("no such device") }
	require.EqualError(t, MountNFS([]string{"nas:/", "/mnt"}, root, failing), "mount.nfs: no such device")
}
