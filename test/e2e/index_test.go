//go:build e2e

package e2e

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// The empty base image is for every platform. The cluster's other base image is for the
// node's only.
func TestImageForEveryPlatform(t *testing.T) {
	t.Parallel()
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)

			mv := live.built(t, makeVersion("multi", ns, dir).Engine(engine).BaseImage("scratch").New())

			img := assertImage(t, mv, dir)
			for _, architecture := range []string{"amd64", "arm64"} {
				variant := content.PullFor(t, mv.Status.Image, v1.Platform{OS: "linux", Architecture: architecture})
				manifest, err := variant.Manifest()
				require.NoError(t, err)
				assert.Equal(t, img.Layers, manifest.Layers, "the layers for %s", architecture)
				config, err := variant.ConfigFile()
				require.NoError(t, err)
				assert.Equal(t, architecture, config.Architecture)
				assert.Equal(t, mv.CreationTimestamp.UTC(), config.Created.UTC(), "the image is as old as its ModelVersion")
			}
		})
	}
}
