package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// AddSignature adds a layer to the image at the SignatureTag of an image, unless it has
// the layer with these annotations.
func (r *Repository) AddSignature(ctx context.Context, subject v1.Hash, content []byte, mediaType string, annotations map[string]string) error {
	tag := r.name.Tag(SignatureTag(subject))
	signatures, layers, err := r.signaturesAt(ctx, SignatureTag(subject))
	if err != nil {
		return err
	}
	signature := static.NewLayer(content, types.MediaType(mediaType))
	digest, err := signature.Digest()
	if err != nil {
		return err
	}
	isPresent := func(d v1.Descriptor) bool { return d.Digest == digest && maps.Equal(d.Annotations, annotations) }
	if slices.ContainsFunc(layers, isPresent) {
		return nil
	}
	added, err := mutate.Append(signatures, mutate.Addendum{Layer: signature, Annotations: annotations})
	if err != nil {
		return r.explain(err)
	}
	return r.explain(remote.Write(tag, added, r.options(ctx)...))
}

// signaturesAt returns the image at a tag and its layers, or an empty one if there is
// none.
func (r *Repository) signaturesAt(ctx context.Context, tag string) (v1.Image, []v1.Descriptor, error) {
	descriptor, err := r.Fetch(ctx, r.name.Tag(tag))
	if IsNotFound(err) || IsUnauthorized(err) {
		// Some registries deny access to a tag that does not exist.
		return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var manifest v1.Manifest
	err = json.Unmarshal(descriptor.Manifest, &manifest)
	// The client would read as much of the config as the manifest says.
	if size := manifest.Config.Size; err != nil || !descriptor.MediaType.IsImage() || !manifest.Config.MediaType.IsConfig() || size < 0 || size > MaxDocument {
		return nil, nil, &Error{Kind: Unsupported, Message: fmt.Sprintf("the registry %s has something else than signatures at the tag %s of %s: delete the tag", r.name.RegistryStr(), tag, r.name.RepositoryStr())}
	}
	image, err := descriptor.Image()
	return image, manifest.Layers, r.explain(err)
}
