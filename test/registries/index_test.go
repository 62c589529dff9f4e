package registries

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/registries/content"
)

// pushBaseIndex pushes a base image with a variant for each architecture.
func pushBaseIndex(t *testing.T, reference string, architectures ...string) {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range architectures {
		image, err := random.Image(1000, 1)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", architecture
		image, err = mutate.ConfigFile(image, config)
		require.NoError(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(ref, index, remote.WithContext(t.Context())))
}

// An image is for the platforms of its base image, with the same layers of the model, and
// the next version reuses them.
func TestStreamForEveryPlatform(t *testing.T) {
	t.Parallel()
	forEachRegistry(t, func(t *testing.T, registry string) {
		p := newPod(t, registry)
		p.baseImage = registry + "/base/multi:1"
		pushBaseIndex(t, p.baseImage, "arm64", "s390x", "amd64")
		content.WriteRandom(t, p.source("weights.bin"), layerSize)
		p.write(t, "config.json", "{}")

		left, image := p.builds(t)

		const base, manifest = 1, 1
		own := image.Layers[base:]
		require.Len(t, own, left.Source.Layers+manifest)
		for _, architecture := range []string{"amd64", "arm64"} {
			variant := content.PullFor(t, p.image(), v1.Platform{OS: "linux", Architecture: architecture})
			config, err := variant.ConfigFile()
			require.NoError(t, err)
			assert.Equal(t, architecture, config.Architecture)
			described, err := variant.Manifest()
			require.NoError(t, err)
			assert.Equal(t, own, described.Layers[base:], "the layers of the model for %s", architecture)
		}

		left, _ = p.builds(t)
		assert.True(t, left.Source.AlreadyPushed, "the index is the ModelVersion's")

		next := p.next(t)
		next.baseImage = p.baseImage
		left, _ = next.builds(t)
		assert.Zero(t, left.Build.SentBytes, "every layer of the model is reused")
	})
}

func TestStreamForThePlatformOfTheBaseImage(t *testing.T) {
	t.Parallel()
	forEachRegistry(t, func(t *testing.T, registry string) {
		p := newPod(t, registry)
		p.baseImage = registry + "/base/single:1"
		pushBaseIndex(t, p.baseImage, "ppc64le")
		p.write(t, "config.json", "{}")

		_, image := p.builds(t)

		config, err := content.Pull(t, p.image()).ConfigFile()
		require.NoError(t, err)
		assert.Equal(t, "ppc64le", config.Architecture)
		digest, err := content.Pull(t, p.image()).Digest()
		require.NoError(t, err)
		assert.Equal(t, digest.String(), image.Digest, "the tag refers to the image itself")
	})
}
