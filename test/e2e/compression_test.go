//go:build e2e

package e2e

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// The compression does not depend on the base image. TestKanikoLayers has the default.
func TestKanikoCompression(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		base        string
		compression v1alpha1.Compression
		want        types.MediaType
	}{
		"with gzip":                {compression: v1alpha1.Gzip, want: types.OCILayer},
		"with nothing to build on": {base: "scratch", want: types.OCILayerZStd},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			version := makeVersion("packed", ns, dir).Compression(tt.compression)
			if tt.base != "" {
				version.BaseImage(tt.base)
			}

			mv := live.built(t, version.New())

			img := assertImage(t, mv, dir)
			require.NotEmpty(t, img.Layers)
			assert.Equal(t, tt.want, img.Layers[len(img.Layers)-1].MediaType)
		})
	}
}
