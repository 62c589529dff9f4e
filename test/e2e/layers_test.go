//go:build e2e

package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// A layer's files are copied while Kaniko archives the layer before, which must
// not include them.
func TestKanikoLayers(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	const large = 3
	for i := range large {
		dir.random(t, fmt.Sprintf("weights-%d.bin", i), layer.DefaultSize)
	}

	mv := live.built(t, makeVersion("layered", ns, dir).New())

	img := assertImage(t, mv, dir)
	own := 0
	for _, each := range img.Layers {
		if each.Size >= layer.DefaultSize {
			own++
		}
		assert.Less(t, each.Size, int64(2*layer.DefaultSize), "no layer holds two of them")
	}
	assert.Equal(t, large, own, "layers: %v", img.Layers)
	assert.Equal(t, types.OCILayerZStd, img.Layers[len(img.Layers)-1].MediaType)
	assert.Equal(t, int64(large+2), mv.Status.Files)
	want := map[string]int{"config.json": 1, "weights/part-1.bin": 1}
	for i := range large {
		want[fmt.Sprintf("weights-%d.bin", i)] = 1
	}
	got := map[string]int{}
	for _, at := range layerFiles(t, mv.Status.Image) {
		assert.NotContains(t, at, "staging")
		if below, inModel := strings.CutPrefix(at, "kubedl-model/"); inModel {
			got[below]++
		}
	}
	assert.Equal(t, want, got)
}

// layerFiles returns the files in all of an image's layers, including those
// that another layer hides.
func layerFiles(t *testing.T, reference string) (files []string) {
	t.Helper()
	layers, err := content.Pull(t, reference).Layers()
	require.NoError(t, err)
	for _, each := range layers {
		files = append(files, filesIn(t, each)...)
	}
	return files
}

func filesIn(t *testing.T, one v1.Layer) (files []string) {
	t.Helper()
	content, err := one.Uncompressed()
	require.NoError(t, err)
	defer content.Close()
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		if header.Typeflag != tar.TypeDir {
			files = append(files, path.Clean(strings.TrimPrefix(header.Name, "/")))
		}
	}
}
