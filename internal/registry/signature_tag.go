package registry

import (
	"context"
	"encoding/json"
	"errors"
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
		return nil, nil, r.notSignatures(tag)
	}
	image, err := descriptor.Image()
	if err == nil {
		_, err = image.ConfigFile()
	}
	if err = r.explain(err); IsNotFound(err) || isNotJSON(err) {
		return nil, nil, r.notSignatures(tag)
	}
	return image, manifest.Layers, err
}

func (r *Repository) notSignatures(tag string) *Error {
	return &Error{Kind: Unsupported, Message: fmt.Sprintf("the registry %s has something else than signatures at the tag %s of %s: delete the tag", r.name.RegistryStr(), tag, r.name.RepositoryStr())}
}

// isNotJSON reports whether an error is that of a text which is not the JSON that it has to be.
func isNotJSON(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind)
}
