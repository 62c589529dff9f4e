package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// The programs are stand-ins here: TestRelease compiles the plugin for this machine.
func TestWritePlugin(t *testing.T) {
	dir, git := newRepository(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, pluginDir, "kodata", "third_party", "go"), 0o755))
	manifest, err := os.ReadFile(filepath.Join(checkout, pluginDir, "krew.yaml"))
	require.NoError(t, err)
	for path, content := range map[string]string{"krew.yaml": string(manifest), "kodata/LICENSE": "Apache", "kodata/third_party/go/LICENSE": "BSD"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, pluginDir, path), []byte(content), 0o600))
	}
	git("add", "-A")
	git("commit", "-q", "-m", "Plugin")

	written := func(platforms string) map[string][]byte {
		t.Helper()
		r := release{Options: Options{Root: dir, Output: t.TempDir(), Version: "v1.2.3", PluginPlatforms: platforms}}
		r.compiler = func(_ context.Context, p pluginPlatform, to string) error {
			return os.WriteFile(to, []byte("program for "+p.String()), 0o600)
		}
		var err error
		r.plugin, err = r.manifest()
		require.NoError(t, err)
		require.NoError(t, r.writePlugin(t.Context()))
		entries, err := os.ReadDir(r.Output)
		require.NoError(t, err)
		files := map[string][]byte{}
		for _, entry := range entries {
			files[entry.Name()], err = os.ReadFile(filepath.Join(r.Output, entry.Name()))
			require.NoError(t, err)
		}
		return files
	}

	files := written("")
	assert.Len(t, files, 5)
	var got plugin
	require.NoError(t, yaml.UnmarshalStrict(files["kiln.yaml"], &got))
	assert.Equal(t, "v1.2.3", got.Spec.Version)
	require.Len(t, got.Spec.Platforms, 4)
	for _, p := range got.Spec.Platforms {
		name := "kubectl-kiln_" + p.Selector.MatchLabels.OS + "_" + p.Selector.MatchLabels.Arch + ".tar.gz"
		assert.Equal(t, "https://github.com/modelkiln/modelkiln/releases/download/v1.2.3/"+name, p.URI)
		require.Contains(t, files, name)
		assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(files[name])), p.SHA256)
		assert.Equal(t, map[string]string{
			"kubectl-kiln":           "-rwxr-xr-x program for " + p.String(),
			"LICENSE":                "-rw-r--r-- Apache",
			"third_party/go/LICENSE": "-rw-r--r-- BSD",
		}, entriesOf(t, files[name]))
	}
	assert.Equal(t, files, written(""), "the archives of a commit are reproducible")

	files = written("darwin/arm64")
	assert.Len(t, files, 2)
	require.NoError(t, yaml.UnmarshalStrict(files["kiln.yaml"], &got))
	assert.Len(t, got.Spec.Platforms, 1)
	assert.Contains(t, files, "kubectl-kiln_darwin_arm64.tar.gz")
}

func TestWritePlugin_DoesNotCompile(t *testing.T) {
	dir, _ := newRepository(t)
	r := release{Options: Options{Root: dir, Output: t.TempDir()}, plugin: plugin{Spec: pluginSpec{Platforms: make([]pluginPlatform, 1)}}}
	r.compiler = func(context.Context, pluginPlatform, string) error { return errors.New("undefined: main") }
	require.ErrorContains(t, r.writePlugin(t.Context()), "undefined: main")
}

// entriesOf returns the mode and the content of the files in an archive, by name.
func entriesOf(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	entries := map[string]string{}
	for reader := tar.NewReader(compressed); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		require.NoError(t, err)
		content, err := io.ReadAll(reader)
		require.NoError(t, err)
		entries[header.Name] = header.FileInfo().Mode().String() + " " + string(content)
	}
}
