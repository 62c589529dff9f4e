package modelimage

import (
	"archive/tar"
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// Whatever an image lists, only the files of the model are packaged, each once, and
// the difference is found.
func FuzzReadManifest(f *testing.F) {
	for _, name := range []string{layer.ManifestFile, "./" + layer.ManifestFile, "/" + layer.ManifestFile, "kubedl-model/.wh.a", "a/../" + layer.ManifestFile, "etc/passwd", ""} {
		f.Add(name, []byte(`{"entries":[{"path":"a","type":"file","size":1,"mode":"0644","layer":1},{"path":"b","type":"file","mode":"0644"}],"layers":[{"diffID":"sha256:1"},{"diffID":"sha256:2"}],"streamed":true}`))
	}
	for _, content := range []string{
		``, `{`, `null`, `[]`, `{"entries":[{"path":"../../etc/passwd","type":"file"}]}`,
		`{"entries":[{"path":"a","layer":-1},{"path":"b","layer":9223372036854775807}],"layers":[{}]}`,
		`{"entries":[{"path":"a"},{"path":"a"}]}`, `{"entries":[{"path":"a","mode":"7777777"}]}`, `{"entries":[{"path":"a","size":-1}]} {}`,
	} {
		f.Add(layer.ManifestFile, []byte(content))
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		if w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Typeflag: tar.TypeReg}) != nil {
			return
		}
		_, err := w.Write(content)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		checkManifest(t, archive.Bytes())
		checkManifest(t, content) // As an archive of its own.
	})
}

func checkManifest(t *testing.T, archive []byte) {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(archive, types.OCIUncompressedLayer))
	require.NoError(t, err)
	manifest, err := ReadManifest(image)
	if err != nil {
		var invalid *InvalidError
		require.ErrorAs(t, err, &invalid)
		return
	}
	entries := []layer.Entry{{Path: "a", Type: layer.File, Size: 1, Mode: layer.ModeReadable}, {Path: "b", Type: layer.File, Mode: layer.ModeReadable}}
	plan := layer.Plan{Layers: [][]layer.Entry{entries}, Files: 2, Bytes: 1}
	if partitioned, assigned := manifest.Repartition(plan); assigned {
		assert.ElementsMatch(t, entries, partitioned.Entries())
		assert.Len(t, partitioned.Layers, len(manifest.Layers))
	}
	difference := layer.Difference(manifest, layer.NewManifest(plan, nil))
	if difference == "" {
		assert.True(t, manifest.Index().Has(entries))
		assert.Len(t, manifest.Index(), len(entries))
	}
	assert.LessOrEqual(t, utf8.RuneCountInString(failure.BrokenImage("%s", difference).Message), 500)
}
