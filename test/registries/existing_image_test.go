package registries

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// existingImage is storage that is an image with a digest, at the tag of the pod.
type existingImage struct {
	directoryStorage
	digest string
}

func (e existingImage) arguments(*pod) []string {
	return []string{"--storage-kind=" + contract.StorageImage, "--image-digest=" + e.digest}
}

// An image that one cluster has pushed becomes a ModelVersion of another one, with the
// same digest, and nothing else does.
func TestExistingImage(t *testing.T) {
	t.Parallel()
	forEachRegistry(t, func(t *testing.T, registry string) {
		first := newPod(t, registry)
		content.WriteRandom(t, first.source("weights.bin"), layerSize)
		first.write(t, "config.json", "{}")
		want, image := first.builds(t)

		other := newPod(t, registry)
		other.uid, other.version, other.model, other.storage = "of-another-cluster", "imported", first.model, existingImage{digest: image.Digest}
		got, again := other.builds(t)
		assert.Equal(t, want.Image, got.Image)
		assert.Equal(t, want.Source.Files, got.Source.Files)
		assert.Equal(t, want.Source.Bytes, got.Source.Bytes)
		assert.Nil(t, got.Build, "nothing is pushed")
		assert.Equal(t, image, again)

		other.tag = "v2"
		missing := other.fails(t, contract.StepMountCheck, v1alpha1.ReasonSourceMissing)
		assert.Contains(t, missing.Message, "the registry has the image, but no tag v2: have the tag refer to it with crane tag "+registry+"/"+other.repository+"@"+image.Digest+" v2")

		pushImage(t, other.image(), v1.Config{})
		moved := other.fails(t, contract.StepMountCheck, v1alpha1.ReasonTagMoved)
		assert.Contains(t, moved.Message, "the tag v2 holds "+content.Digest(t, other.image())+" and not the digest in spec.storage.image")

		other.storage = existingImage{digest: content.Digest(t, other.image())}
		other.fails(t, contract.StepMountCheck, v1alpha1.ReasonSourceMissing)
	})
}
