package modelimage

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// imageWith returns an image of one layer with these files.
func imageWith(t *testing.T, files map[string][]byte) v1.Image {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content))}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(archive.Bytes(), types.OCIUncompressedLayer))
	require.NoError(t, err)
	return image
}

func TestReadManifest(t *testing.T) {
	want := layer.Manifest{
		Patterns: layer.Patterns{Include: []string{"<*>"}, Exclude: []string{".git/"}},
		Entries:  []layer.ManifestEntry{{Path: "<a & b>", Type: layer.File, Size: 1, Mode: layer.ModeReadable}},
		Layers:   []layer.BuiltLayer{{DiffID: "sha256:1", Files: 1, Bytes: 1}},
	}
	var file bytes.Buffer
	digest, err := WriteManifest(&file, want)
	require.NoError(t, err)
	assert.Contains(t, file.String(), "<a & b>", "names are readable")

	t.Run("returns the manifest that was written", func(t *testing.T) {
		image := imageWith(t, map[string][]byte{layer.ManifestFile: file.Bytes()})
		got, err := ReadManifest(image)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		gotDigest, err := ManifestDigest(image)
		require.NoError(t, err)
		assert.Equal(t, digest, gotDigest)
	})
	for name, content := range map[string]string{
		"is cut":                        `{"entries":[{"path":"a"}`,
		"is a list":                     `[]`,
		"is null":                       `null`,
		"has entries that are no list":  `{"entries":{}}`,
		"has an entry that is text":     `{"entries":["a"]}`,
		"has too many entries":          `{"entries":[` + strings.Repeat("{},", maxManifestItems) + `{}]}`,
		"has patterns that are no list": `{"exclude":"a"}`,
		"has too many layers":           `{"layers":[` + strings.Repeat("{},", maxManifestItems) + `{}]}`,
	} {
		t.Run("rejects a manifest that "+name, func(t *testing.T) {
			_, err := ReadManifest(imageWith(t, map[string][]byte{layer.ManifestFile: []byte(content)}))
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			assert.Contains(t, invalid.Problem, "cannot be decoded")
		})
	}
	t.Run("ignores what a later release may add", func(t *testing.T) {
		got, err := ReadManifest(imageWith(t, map[string][]byte{layer.ManifestFile: []byte(`{"a":{"b":[1]},"streamed":true,"entries":null,"layers":[{"files":1}]}`)}))
		require.NoError(t, err)
		assert.Equal(t, layer.Manifest{Streamed: true, Layers: []layer.BuiltLayer{{Files: 1}}}, got)
	})
	for name, tt := range map[string]struct {
		image v1.Image
		want  string
	}{
		"an image without layers":             {empty.Image, "lacks the manifest of the model's files"},
		"an image without a manifest":         {imageWith(t, map[string][]byte{"etc/passwd": nil}), "lacks the manifest of the model's files"},
		"a layer that removes a file":         {imageWith(t, map[string][]byte{"kubedl-model/.wh.a": nil}), "removes a part of the model"},
		"a layer that removes everything":     {imageWith(t, map[string][]byte{layer.OpaqueWhiteout: nil}), "removes a part of the model"},
		"a damaged manifest":                  {imageWith(t, map[string][]byte{layer.ManifestFile: []byte("{")}), "cannot be decoded"},
		"two manifests":                       {imageWith(t, map[string][]byte{layer.ManifestFile: file.Bytes(), "./" + layer.ManifestFile: file.Bytes()}), "twice"},
		"content with another digest":         {withContent(t, string(make([]byte, 1024))), "another digest"},
		"content that is no archive":          {withContent(t, strings.Repeat("x", 600)), "is not an archive"},
		"content with a damaged gzip header":  {withContent(t, "\x1f\x8b\x00"), "is not an archive"},
		"content that needs too large memory": {withContent(t, zstdOfWindow(t, 2*maxWindow)), "is not an archive"},
	} {
		t.Run("rejects "+name, func(t *testing.T) {
			_, err := ReadManifest(tt.image)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			assert.Contains(t, invalid.Problem, tt.want)
		})
	}
}

// withContent returns an image of one layer whose content is not that of its digest.
func withContent(t *testing.T, content string) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, replacedLayer{static.NewLayer([]byte("y"), types.OCIUncompressedLayer), content})
	require.NoError(t, err)
	return image
}

// replacedLayer is a layer that a registry stores with other content.
type replacedLayer struct {
	v1.Layer
	content string
}

func (l replacedLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(l.content)), nil
}

func zstdOfWindow(t *testing.T, window int) string {
	t.Helper()
	var compressed bytes.Buffer
	encoder, err := zstd.NewWriter(&compressed, zstd.WithWindowSize(window))
	require.NoError(t, err)
	_, err = io.CopyN(encoder, zeros{}, int64(window)+1)
	require.NoError(t, err)
	require.NoError(t, encoder.Close())
	return compressed.String()
}

func TestReadLayer(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "a", Size: 3}))
	_, err := w.Write([]byte("abc"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for name, compression := range map[string]compression.Compression{"uncompressed": compression.None, "gzip": compression.GZip, "zstd": compression.ZStd} {
		t.Run(name, func(t *testing.T) {
			l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }, tarball.WithCompression(compression))
			require.NoError(t, err)
			diffID, err := l.DiffID()
			require.NoError(t, err)
			got := ""
			read := func(maxSize int64) error {
				return ReadLayer(l, diffID.String(), maxSize, func(header *tar.Header, content io.Reader) error {
					raw, err := io.ReadAll(content)
					got = header.Name + string(raw)
					return err
				})
			}
			require.NoError(t, read(int64(archive.Len())))
			assert.Equal(t, "aabc", got)
			require.ErrorContains(t, read(int64(archive.Len())-1), "more than the expected")

			archive := append(archive.Bytes(), 'x')
			l, err = tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, tarball.WithCompression(compression))
			require.NoError(t, err)
			require.ErrorContains(t, read(int64(len(archive))), "it has content after its end")
		})
	}
}

// The client's archive of an image ends as if it was whole when a layer cannot be read.
func TestInspectBaseDamagedLayer(t *testing.T) {
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte(strings.Repeat("x", 1024)), types.OCIUncompressedLayer))
	require.NoError(t, err)
	_, err = InspectBase(t.Context(), image, "kubedl-model")
	require.ErrorContains(t, err, "reading tar")
}
