package step

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// planOf opens and plans a model.
func planOf(t *testing.T, dir string, limits layer.Limits) (source.Files, layer.Plan) {
	t.Helper()
	files, err := source.Storage{Mount: dir}.Open()
	require.NoError(t, err)
	t.Cleanup(func() { _ = files.Close() })
	listing, err := files.List(t.Context())
	require.NoError(t, err)
	plan, err := layer.NewPlan(listing)
	require.NoError(t, err)
	return files, plan.WithLimits(limits)
}

// sparseModel returns the directory of a model of files that take no space on the disk.
func sparseModel(t *testing.T, sizes map[string]int64) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range sizes {
		file, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, file.Truncate(size))
		require.NoError(t, file.Close())
	}
	return dir
}

func TestCheckLayers(t *testing.T) {
	const gigabyte = 1_000_000_000
	for name, tc := range map[string]struct {
		host   string
		sizes  map[string]int64
		layers int
		want   string
	}{
		"a registry without a known limit":     {host: "registry.example.com", sizes: map[string]int64{"a": 20 * gigabyte}, layers: 2},
		"files that share a layer":             {host: "ghcr.io", sizes: map[string]int64{"a": 4 * gigabyte, "b": 4 * gigabyte, "c": 4 * gigabyte}, layers: 2},
		"a file that compresses well":          {host: "ghcr.io", sizes: map[string]int64{"a": 20 * gigabyte}, layers: 2},
		"more layers than an image has":        {host: "ghcr.io", sizes: map[string]int64{"a": 8 * gigabyte, "b": 8 * gigabyte}, layers: 1, want: "the model needs 2 layers of at most 9.2 GiB, which is what the registry ghcr.io accepts, and the image has room for 1"},
		"as many files as an image has layers": {host: "ghcr.io", sizes: map[string]int64{"a": 8 * gigabyte, "b": 8 * gigabyte}, layers: 3},
	} {
		t.Run(name, func(t *testing.T) {
			limits := layerLimits(layer.Limits{Size: layer.DefaultSize, Layers: tc.layers}, 0, tc.host)
			files, plan := planOf(t, sparseModel(t, tc.sizes), limits)

			err := checkLayers(t.Context(), files, plan, limits, tc.host)

			if tc.want == "" {
				require.NoError(t, err)
				assert.LessOrEqual(t, len(plan.Layers), tc.layers)
				return
			}
			assert.Equal(t, v1alpha1.ReasonRegistryFull, failure.Of(err).Reason)
			assert.Contains(t, err.Error(), tc.want)
		})
	}
}

func TestCheckLayersOfLargeFile(t *testing.T) {
	limits := layer.Limits{Size: layer.DefaultSize, Layers: 10, MaxSize: 1 << 20}
	dir := t.TempDir()
	content.WriteRandom(t, filepath.Join(dir, "weights.bin"), 3<<20)
	files, plan := planOf(t, dir, limits)

	err := checkLayers(t.Context(), files, plan, limits, "ghcr.io")

	assert.Equal(t, v1alpha1.ReasonRegistryFull, failure.Of(err).Reason)
	assert.Contains(t, err.Error(), "the file weights.bin takes a layer of at least 2.7 MiB, and the registry ghcr.io accepts layers of at most 9.3 GiB: save the model in several files, or push to another registry")
}
