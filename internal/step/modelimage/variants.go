package modelimage

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Platforms returns the platforms that a model's image is for, in the order of its
// index. Those of a base image without all of them are fewer.
func Platforms() []v1.Platform {
	return []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
}

// baselines are the variants of architectures that every machine of the architecture
// supports. An index may leave them out.
var baselines = map[string]string{"amd64": "v1", "arm64": "v8"}

// Variant is the image for one platform.
type Variant struct {
	// Platform is that of the image in its index, or in the config of an image
	// without one. Only the operating system, the architecture and its variant are
	// set.
	Platform v1.Platform
	Image    v1.Image
}

// choose returns those images of an index that are for Platforms, in this order. If
// it has none of them, it returns the only Linux image.
func choose(manifests []v1.Descriptor) ([]v1.Descriptor, error) {
	images := slices.DeleteFunc(slices.Clone(manifests), func(d v1.Descriptor) bool {
		// Attestations are for the platform unknown/unknown.
		return !d.MediaType.IsImage() || d.Platform == nil || d.Platform.OS != "linux" || d.Platform.Architecture == "unknown"
	})
	var chosen []v1.Descriptor
	for _, wanted := range Platforms() {
		if found, exists := find(images, wanted); exists {
			chosen = append(chosen, found)
		}
	}
	switch {
	case len(chosen) > 0:
		return chosen, nil
	case len(images) == 1:
		return images, nil
	}
	return nil, fmt.Errorf("its index has images for %s", platformsOf(manifests))
}

// find returns the image for a platform, preferably one that every machine of the
// architecture supports.
func find(images []v1.Descriptor, wanted v1.Platform) (found v1.Descriptor, exists bool) {
	for _, image := range images {
		if image.Platform.Architecture != wanted.Architecture {
			continue
		}
		if v := image.Platform.Variant; v == "" || v == baselines[wanted.Architecture] {
			return image, true
		}
		if !exists {
			found, exists = image, true
		}
	}
	return found, exists
}

// maxShownPlatforms is how many platforms a message names.
const maxShownPlatforms = 4

func platformsOf(manifests []v1.Descriptor) string {
	var names []string
	for _, d := range manifests {
		if d.Platform != nil && len(names) < maxShownPlatforms {
			names = append(names, fmt.Sprintf("%.20q", d.Platform.String()))
		}
	}
	if len(names) == 0 {
		return "no platform"
	}
	return strings.Join(names, ", ")
}

// open returns images of an index.
func open(index v1.ImageIndex, images []v1.Descriptor) ([]Variant, error) {
	variants := make([]Variant, 0, len(images))
	for _, d := range images {
		image, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		if err := checkImage(image); err != nil {
			return nil, err
		}
		platform := v1.Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}
		variants = append(variants, Variant{Platform: platform, Image: image})
	}
	return variants, nil
}

// Variants returns the images of a manifest that may be that of a model's image: the
// image itself, or those of an index, which are at least two and at most as many as
// Platforms. Whether a build would push them is not checked. The error is an
// *InvalidError, or the registry's.
func Variants(descriptor *remote.Descriptor) ([]Variant, error) {
	if descriptor.MediaType.IsImage() {
		image, err := descriptor.Image()
		if err != nil {
			return nil, err
		}
		return []Variant{{Image: image}}, checkImage(image)
	}
	if !descriptor.MediaType.IsIndex() {
		return nil, errNoImage
	}
	if err := checkDocument("index", descriptor.Manifest); err != nil {
		return nil, err
	}
	index, err := descriptor.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, errNoImage
	}
	images := manifest.Manifests
	isNoImage := func(d v1.Descriptor) bool { return !d.MediaType.IsImage() || d.Platform == nil }
	if len(images) < 2 || len(images) > len(Platforms()) || slices.ContainsFunc(images, isNoImage) {
		return nil, Invalid("its index has %d manifests, and is not one that builds push", len(images))
	}
	return open(index, images)
}

var errNoImage = Invalid("it is neither an image nor an index of images")

// NewIndex returns the index of a model's images. Those that index the same images
// for the same platforms, with the same time of creation, are the same.
func NewIndex(variants []Variant, created string) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, variant := range variants {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: indexed{variant.Image, variant.Platform}})
	}
	if created != "" {
		return mutate.Annotations(index, map[string]string{LabelCreated: created}).(v1.ImageIndex)
	}
	return index
}

// indexed is an image with its descriptor in an index, which replaces the one that an
// image from another index brings along: that can claim anything.
type indexed struct {
	v1.Image
	platform v1.Platform
}

// Descriptor returns only what identifies the image, and its platform.
func (i indexed) Descriptor() (*v1.Descriptor, error) {
	mediaType, err := i.MediaType()
	if err != nil {
		return nil, err
	}
	size, err := i.Size()
	if err != nil {
		return nil, err
	}
	digest, err := i.Digest()
	if err != nil {
		return nil, err
	}
	return &v1.Descriptor{MediaType: mediaType, Size: size, Digest: digest, Platform: &i.platform}, nil
}
