package kaniko

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

func planned(t *testing.T) []layer.Entry {
	t.Helper()
	plan, err := layer.NewPlan([]layer.SourceEntry{
		{Path: ".", Mode: fs.ModeDir, ModTime: time.Unix(1, 0)},
		{Path: "a", Size: 3},
		{Path: "dir", Mode: fs.ModeDir},
		{Path: "dir/" + strings.Repeat("long ", 60), Size: 4},
		{Path: "link", Mode: fs.ModeSymlink, Link: "a"},
	})
	require.NoError(t, err)
	return plan.Layers[0]
}

func dir(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }

func regular(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Format: tar.FormatPAX}
}

func symlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

func archive(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(make([]byte, h.Size))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func longFile(size int64) *tar.Header {
	return regular("kubedl-model/dir/"+strings.Repeat("long ", 60), size)
}

// shared returns all planned entries except the long file.
func shared() []*tar.Header {
	return []*tar.Header{dir(""), dir("kubedl-model"), regular("kubedl-model/a", 3), dir("kubedl-model/dir"), symlink("kubedl-model/link", "a")}
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
}

func diffID(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// read finds and reads the archives in Kaniko's directory.
func read(ctx context.Context, t *testing.T, home string) ([]layer.BuiltLayer, error) {
	t.Helper()
	archives, err := findArchives(home)
	require.NoError(t, err)
	digests := map[string]string{}
	for _, e := range planned(t) {
		digests[e.Path] = fmt.Sprintf("%x", sha256.Sum256(make([]byte, e.Size)))
	}
	layers, err := readLayers(ctx, archives, layer.ModelDir, planned(t), digests)
	var built []layer.BuiltLayer
	for _, l := range layers {
		content, readErr := io.ReadAll(l.Open(ctx, 0))
		require.NoError(t, readErr)
		assert.Equal(t, l.DiffID, diffID(content))
		require.NoError(t, l.file.Close())
		built = append(built, l.BuiltLayer)
	}
	return built, err
}

func TestReadLayersOfEveryFork(t *testing.T) {
	first := archive(t, shared()...)
	second := archive(t, dir(""), dir("kubedl-model"), dir("kubedl-model/dir"), longFile(4))
	want := []layer.BuiltLayer{
		{DiffID: diffID(first), Files: 1, Bytes: 3},
		{DiffID: diffID(second), Files: 1, Bytes: 4},
	}
	for _, sub := range []string{"", "layers"} {
		t.Run("in "+sub, func(t *testing.T) {
			home := t.TempDir()
			write(t, filepath.Join(home, sub), "1001", first)
			write(t, filepath.Join(home, sub), "1002", second)
			write(t, home, "executor", []byte("program"))
			write(t, home, "Dockerfile", []byte("FROM scratch"))
			write(t, home, "1004", []byte("no archive"))
			write(t, home, "1005", archive(t, dir("etc"), regular("etc/passwd", 5), regular("etc/.wh.shadow", 0)))
			got, err := read(t.Context(), t, home)
			require.NoError(t, err)
			assert.ElementsMatch(t, want, got)
		})
	}
}

func TestReadLayersRejects(t *testing.T) {
	tests := map[string]struct {
		layers [][]*tar.Header
		want   string
	}{
		"no layers":        {want: `left "/kubedl-model" out of its layer and 4 other paths`},
		"a missing file":   {layers: [][]*tar.Header{shared()}, want: `left "/kubedl-model/dir/long long`},
		"a missing link":   {layers: [][]*tar.Header{shared()[:4], {longFile(4)}}, want: `left "/kubedl-model/link" out of its layer`},
		"a truncated file": {layers: [][]*tar.Header{shared(), {longFile(3)}}, want: "differently from the model"},
		"a link with another target": {
			layers: [][]*tar.Header{append(shared()[:4], symlink("kubedl-model/link", "/etc/passwd")), {longFile(4)}},
			want:   `wrote "link" differently from the model`,
		},
		"a file instead of a directory": {
			layers: [][]*tar.Header{{dir("kubedl-model"), regular("kubedl-model/dir", 0)}},
			want:   `wrote "dir" differently from the model`,
		},
		"a whiteout of a file": {
			layers: [][]*tar.Header{shared(), {longFile(4)}, {regular("kubedl-model/.wh.a", 0)}},
			want:   "removed a part of the model",
		},
		"a whiteout of the model": {
			layers: [][]*tar.Header{shared(), {longFile(4)}, {regular("/.wh.kubedl-model", 0)}},
			want:   "removed a part of the model",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for i, headers := range tt.layers {
				write(t, home, fmt.Sprint(1000+i), archive(t, headers...))
			}
			_, err := read(t.Context(), t, home)
			require.Error(t, err)
			got := failure.Of(err)
			assert.Equal(t, v1alpha1.ReasonVerificationFailed, got.Reason)
			assert.Contains(t, got.Message, tt.want)
		})
	}
}

func TestReadLayersRejectsOtherContent(t *testing.T) {
	home := t.TempDir()
	content := archive(t, append(shared(), longFile(4))...)
	at := bytes.Index(content, []byte("kubedl-model/a\x00"))
	require.Positive(t, at)
	copy(content[at+512:], "abc")
	write(t, home, "1000", content)
	_, err := read(t.Context(), t, home)
	require.Error(t, err)
	got := failure.Of(err)
	assert.Equal(t, v1alpha1.ReasonVerificationFailed, got.Reason)
	assert.Equal(t, `the image builder wrote "a" with other content than the model`, got.Message)
}

func TestReadLayersRejectsTruncatedArchive(t *testing.T) {
	home := t.TempDir()
	complete := archive(t, append(shared(), longFile(4), regular("etc/passwd", 5))...)
	write(t, home, "1000", complete[:len(complete)-1800])
	_, err := read(t.Context(), t, home)
	require.Error(t, err)
	assert.Equal(t, "a layer that the image builder wrote is damaged", failure.Of(err).Message)
}

func TestReadLayersCanceled(t *testing.T) {
	home := t.TempDir()
	write(t, home, "1000", archive(t, shared()...))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := read(ctx, t, home)
	require.ErrorIs(t, err, context.Canceled)
}
