package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// program writes a file to a new directory and returns its path.
func program(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func digestOf(t *testing.T, spec Spec) string {
	t.Helper()
	digest, err := spec.Digest()
	require.NoError(t, err)
	return digest.String()
}

func TestSpec_Digest(t *testing.T) {
	spec := func(content string) Spec {
		return Spec{
			Name:   "modelkiln.test/a:1",
			Files:  map[string]File{"/bin/a": {Source: program(t, content)}, "/bin/b": {Link: "a"}, "/tmp": {Mode: 0o1777}},
			Config: v1.Config{Entrypoint: []string{"/bin/a"}},
		}
	}
	original := spec("content")
	touched := original.Files["/bin/a"].Source
	want := digestOf(t, original)
	require.NoError(t, os.Chtimes(touched, time.Unix(1, 0), time.Unix(2, 0)))

	tests := map[string]struct {
		change func(*Spec)
		same   bool
	}{
		"the same files":                      {change: func(*Spec) {}, same: true},
		"another name":                        {change: func(s *Spec) { s.Name = "modelkiln.test/b:2" }, same: true},
		"another path and time of the source": {change: func(s *Spec) { s.Files["/bin/a"] = File{Source: touched} }, same: true},
		"other content":                       {change: func(s *Spec) { s.Files["/bin/a"] = File{Source: program(t, "other")} }},
		"another mode":                        {change: func(s *Spec) { s.Files["/tmp"] = File{Mode: 0o700} }},
		"another link target":                 {change: func(s *Spec) { s.Files["/bin/b"] = File{Link: "/bin/a"} }},
		"one more file":                       {change: func(s *Spec) { s.Files["/etc"] = File{} }},
		"another configuration":               {change: func(s *Spec) { s.Config.User = "65532" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			changed := spec("content")
			tt.change(&changed)
			if tt.same {
				assert.Equal(t, want, digestOf(t, changed))
			} else {
				assert.NotEqual(t, want, digestOf(t, changed))
			}
		})
	}
}

func TestSpec_LayerIsSorted(t *testing.T) {
	spec := Spec{Files: map[string]File{
		"/usr/bin/a": {Source: program(t, "content")},
		"/usr/bin/b": {Link: "a"},
		"/etc/conf":  {Source: program(t, ""), Mode: 0o644},
		"/tmp":       {Mode: 0o1777},
	}}
	type entry struct {
		name string
		mode int64
		link string
	}
	want := []entry{
		{"etc/", 0o755, ""},
		{"etc/conf", 0o644, ""},
		{"tmp/", 0o1777, ""},
		{"usr/", 0o755, ""},
		{"usr/bin/", 0o755, ""},
		{"usr/bin/a", 0o755, ""},
		{"usr/bin/b", 0o755, "a"},
	}
	stream, err := spec.open()
	require.NoError(t, err)
	var got []entry
	layer := tar.NewReader(stream)
	for {
		header, err := layer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.Equal(t, time.Unix(0, 0), header.ModTime, header.Name)
		assert.Zero(t, header.Uid, header.Name)
		got = append(got, entry{header.Name, header.Mode, header.Linkname})
	}
	assert.Equal(t, want, got)
}

func TestSpec_BuildCompressed(t *testing.T) {
	spec := Spec{Files: map[string]File{"/bin/a": {Source: program(t, "content")}}}
	plain, err := spec.Build()
	require.NoError(t, err)
	compressed, err := spec.BuildCompressed()
	require.NoError(t, err)
	want, err := plain.ConfigName()
	require.NoError(t, err)
	got, err := compressed.ConfigName()
	require.NoError(t, err)
	assert.Equal(t, want, got, "the configuration names the layer by its diffID")
}

func TestSpec_Build(t *testing.T) {
	spec := Spec{Files: map[string]File{"/bin/a": {Source: program(t, "content")}}}
	stream, err := spec.open()
	require.NoError(t, err)
	want, size, err := v1.SHA256(stream)
	require.NoError(t, err)

	img, err := spec.Build()
	require.NoError(t, err)
	manifest, err := img.Manifest()
	require.NoError(t, err)
	require.Len(t, manifest.Layers, 1)
	assert.Equal(t, want, manifest.Layers[0].Digest)
	assert.Equal(t, size, manifest.Layers[0].Size)
	assert.Equal(t, types.OCIUncompressedLayer, manifest.Layers[0].MediaType)
}

func TestSpec_BuildSetsPlatform(t *testing.T) {
	img, err := Spec{}.Build()
	require.NoError(t, err)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "linux", config.OS, "containerd silently skips images without a platform")
	assert.NotEmpty(t, config.Architecture)
}

func TestSpec_MissingSource(t *testing.T) {
	spec := Spec{Name: "modelkiln.test/a:1", Files: map[string]File{"/bin/a": {Source: "/no/such/program"}}}
	_, err := spec.Build()
	require.ErrorContains(t, err, "cannot assemble the image modelkiln.test/a:1: open /no/such/program")
	_, err = spec.BuildCompressed()
	require.ErrorContains(t, err, "cannot assemble the image modelkiln.test/a:1: open /no/such/program")
}
