package modelimage

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
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
		Entries: []layer.ManifestEntry{{Path: "<a & b>", Type: layer.File, Size: 1, Mode: layer.ModeReadable}},
		Layers:  []layer.BuiltLayer{{DiffID: "sha256:1", Files: 1, Bytes: 1}},
	}
	var file bytes.Buffer
	digest, err := WriteManifest(&file, want)
	require.NoError(t, err)
	assert.Contains(t, file.String(), "<a & b>", "names are readable")

	t.Run("returns the manifest that was written", func(t *testing.T) {
		image := imageWith(t, map[string][]byte{layer.ManifestFile: file.Bytes()})
		got, found, err := ReadManifest(image)
		require.NoError(t, err)
		assert.True(t, found)
		assert.Equal(t, want, got)
		gotDigest, found, err := ManifestDigest(image)
		require.NoError(t, err)
		assert.True(t, found)
		assert.Equal(t, digest, gotDigest)
	})
	t.Run("finds none in another image", func(t *testing.T) {
		for _, image := range []v1.Image{empty.Image, imageWith(t, map[string][]byte{"etc/passwd": nil})} {
			_, found, err := ReadManifest(image)
			require.NoError(t, err)
			assert.False(t, found)
		}
	})
	t.Run("rejects a layer that removes a part of the model", func(t *testing.T) {
		_, _, err := ReadManifest(imageWith(t, map[string][]byte{"kubedl-model/.wh.a": nil}))
		var f *failure.Error
		require.ErrorAs(t, err, &f)
		assert.Contains(t, f.Message, "removes a part of the model")
	})
	for name, content := range map[string]string{
		"is cut":                       `{"entries":[{"path":"a"}`,
		"is a list":                    `[]`,
		"is null":                      `null`,
		"has entries that are no list": `{"entries":{}}`,
		"has an entry that is text":    `{"entries":["a"]}`,
		"has too many entries":         `{"entries":[` + strings.Repeat("{},", maxManifestItems) + `{}]}`,
		"has too many layers":          `{"layers":[` + strings.Repeat("{},", maxManifestItems) + `{}]}`,
	} {
		t.Run("rejects a manifest that "+name, func(t *testing.T) {
			_, _, err := ReadManifest(imageWith(t, map[string][]byte{layer.ManifestFile: []byte(content)}))
			require.ErrorContains(t, err, "read the manifest of the model")
		})
	}
	t.Run("ignores what a later release may add", func(t *testing.T) {
		got, _, err := ReadManifest(imageWith(t, map[string][]byte{layer.ManifestFile: []byte(`{"a":{"b":[1]},"streamed":true,"entries":null,"layers":[{"files":1}]}`)}))
		require.NoError(t, err)
		assert.Equal(t, layer.Manifest{Streamed: true, Layers: []layer.BuiltLayer{{Files: 1}}}, got)
	})
}
