package registries

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/sources/gateway"
	"github.com/modelkiln/modelkiln/test/sources/hub"
)

// diskModel is the size of a model, and disk what its build may write to disk: all steps
// together, and so any of their files.
const (
	diskModel = 256 << 20
	disk      = 2 << 20
)

// zeros is the content of a file.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// storeZeros start storage with a file of zeros, which takes no disk.
var storeZeros = map[string]func(t *testing.T, secretDir string) storage{
	"S3": func(t *testing.T, secretDir string) storage {
		t.Helper()
		g, err := gateway.Start(t.Context(), program("versitygw"), "127.0.0.1:0", tempDir(t), "")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Stop()) })
		require.NoError(t, gateway.WriteSecret(secretDir))
		file := filepath.Join(g.Dir, storedPrefix, "weights.bin")
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, nil, 0o644))
		require.NoError(t, os.Truncate(file, diskModel))
		return &gatewayStorage{gateway: g, url: g.Endpoint}
	},
	"Hugging Face": func(t *testing.T, secretDir string) storage {
		t.Helper()
		s, ok := newHubStorage(t, secretDir).(*hubStorage)
		require.True(t, ok)
		s.hub.Put(hub.Repository{
			Name: hubRepo, Commit: strings.Repeat("1", 40), Revisions: []string{"main"},
			Files: map[string]hub.File{"weights.bin": {Content: zeros{}, Size: diskModel, Large: true}},
		})
		return s
	},
}

// With the engine Stream, a model that is not mounted may be larger than the free disk of
// the node: none of the steps can write a file of more than a hundredth of it, nor do they
// write more than that together.
func TestStreamNeedsNoDisk(t *testing.T) {
	t.Parallel()
	for name, start := range storeZeros {
		for _, compression := range []v1alpha1.Compression{v1alpha1.NoCompression, v1alpha1.Zstd} {
			t.Run(fmt.Sprintf("%s, compression %s", name, compression), func(t *testing.T) {
				t.Parallel()
				p := newPod(t, startOpen(t))
				p.secretDir = tempDir(t)
				p.storage, p.compression = start(t, p.secretDir), compression
				var written int64
				for _, step := range steps {
					command := withFileLimit(p.command(t, step), disk)
					log, err := command.CombinedOutput()
					require.NoError(t, err, string(log))
					usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
					require.True(t, ok)
					written += usage.Oublock * 512
				}
				assert.EqualValues(t, diskModel, p.report(t).Source.Bytes)
				assert.LessOrEqual(t, written, int64(disk), "the size of what was written to a disk")
			})
		}
	}
}

// withFileLimit returns a command that cannot write files of more than so many bytes.
func withFileLimit(command *exec.Cmd, bytes int) *exec.Cmd {
	const block = 512
	limit := fmt.Sprintf(`ulimit -f %d && exec "$@"`, bytes/block)
	limited := exec.Command("sh", append([]string{"-c", limit, "sh"}, command.Args...)...)
	limited.Env = command.Env
	return limited
}
