package modelimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
)

// Layer is a layer of a model that is in the registry. It is the same for every
// platform, since it depends on the files only.
type Layer struct {
	// Digest is its digest in the registry, and DiffID that of its uncompressed
	// archive. They are equal if it is not compressed.
	Digest, DiffID v1.Hash
	// Size is its size in the registry, in bytes.
	Size int64
	// MediaType includes whether and how it is compressed.
	MediaType types.MediaType
	// Files is the number of files of the model in it, and Bytes the sum of
	// their sizes.
	Files, Bytes int64
	// StatDigest is the layer.StatDigest of its files when they were read, if
	// later ModelVersions may rely on modification times.
	StatDigest string
}

func (l Layer) annotations() map[string]string {
	if l.StatDigest == "" {
		return nil
	}
	return map[string]string{AnnotationStatDigest: l.StatDigest}
}

// BuiltLayers returns what the manifest of a model says of its layers.
func BuiltLayers(layers []Layer) []layer.BuiltLayer {
	built := make([]layer.BuiltLayer, 0, len(layers))
	for _, l := range layers {
		built = append(built, layer.BuiltLayer{DiffID: l.DiffID.String(), Files: l.Files, Bytes: l.Bytes})
	}
	return built
}

// errContentNotLocal is the error of reading the content of a layer that is in
// the registry only.
var errContentNotLocal = errors.New("the content of the layer is in the registry only")

// remoteLayer is a Layer as a v1.Layer.
type remoteLayer struct{ layer Layer }

func (r remoteLayer) Digest() (v1.Hash, error)             { return r.layer.Digest, nil }
func (r remoteLayer) DiffID() (v1.Hash, error)             { return r.layer.DiffID, nil }
func (r remoteLayer) Size() (int64, error)                 { return r.layer.Size, nil }
func (r remoteLayer) MediaType() (types.MediaType, error)  { return r.layer.MediaType, nil }
func (r remoteLayer) Compressed() (io.ReadCloser, error)   { return nil, errContentNotLocal }
func (r remoteLayer) Uncompressed() (io.ReadCloser, error) { return nil, errContentNotLocal }

// NewManifestArchive returns the archive of the last layer of an image, with the manifest
// of a model and links to the model, and the SHA-256 of the manifest in hexadecimal.
func NewManifestArchive(manifest layer.Manifest, links []layer.Entry) (content []byte, digest string, err error) {
	var file bytes.Buffer
	if digest, err = WriteManifest(&file, manifest); err != nil {
		return nil, "", err
	}
	archive, err := layer.NewArchive("", append([]layer.Entry{
		{Path: layer.ManifestDir, Type: layer.Dir, Mode: layer.ModeExecutable},
		{Path: layer.ManifestFile, Type: layer.File, Mode: layer.ModeReadable, Size: int64(file.Len())},
	}, links...))
	if err != nil {
		return nil, "", err
	}
	content = make([]byte, 0, archive.Size())
	for piece := range archive.Pieces(0) {
		if piece.Bytes == nil {
			piece.Bytes = file.Bytes()
		}
		content = append(content, piece.Bytes...)
	}
	return content, digest, nil
}

// Parts are what the images for all platforms have in common.
type Parts struct {
	// Layers are the layers of the model, and Manifest is the last layer.
	Layers   []Layer
	Manifest v1.Layer
	// Created is when the image was created. If it is zero, the image has the base
	// image's time.
	Created time.Time
}

// Assemble returns the image of a base image, whose Image is nil for the empty one,
// the layers of a model and, last, its manifest.
func Assemble(base Variant, parts Parts, labels map[string]string) (v1.Image, error) {
	addenda, config, err := baseLayers(base)
	if err != nil {
		return nil, err
	}
	for _, l := range parts.Layers {
		addenda = append(addenda, mutate.Addendum{Layer: remoteLayer{l}, Annotations: l.annotations()})
	}
	addenda = append(addenda, mutate.Addendum{Layer: parts.Manifest})
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.Append(image, addenda...); err != nil {
		return nil, fmt.Errorf("assemble the image: %w", err)
	}
	withLayers, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("assemble the image: %w", err)
	}
	config.RootFS = withLayers.RootFS
	config.History = extendHistory(config.History, len(parts.Layers)+1)
	config.Config.Env = withModelPath(config.Config.Env)
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	maps.Copy(config.Config.Labels, labels)
	if !parts.Created.IsZero() {
		config.Created = v1.Time{Time: parts.Created.UTC()}
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("assemble the image: %w", err)
	}
	if created := labels[LabelCreated]; created != "" {
		return mutate.Annotations(image, map[string]string{LabelCreated: created}).(v1.Image), nil
	}
	return image, nil
}

// baseLayers returns the layers of a base image, with OCI media types, and a copy
// of its config.
func baseLayers(base Variant) ([]mutate.Addendum, *v1.ConfigFile, error) {
	if base.Image == nil {
		return nil, &v1.ConfigFile{OS: base.Platform.OS, Architecture: base.Platform.Architecture, Variant: base.Platform.Variant}, nil
	}
	layers, err := base.Image.Layers()
	if err != nil {
		return nil, nil, err
	}
	manifest, err := base.Image.Manifest()
	if err != nil {
		return nil, nil, err
	}
	config, err := base.Image.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	addenda := make([]mutate.Addendum, 0, len(layers))
	for i, l := range layers {
		addenda = append(addenda, mutate.Addendum{Layer: l, MediaType: ociMediaType(manifest.Layers[i].MediaType), URLs: manifest.Layers[i].URLs})
	}
	return addenda, config.DeepCopy(), nil
}

// ociMediaType returns the OCI media type for one of Docker's.
func ociMediaType(mediaType types.MediaType) types.MediaType {
	switch mediaType {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	case types.DockerForeignLayer:
		return types.OCIRestrictedLayer
	default:
		return mediaType
	}
}

// extendHistory adds the layers of a model to a history. An image without a
// history, which is valid, keeps none.
func extendHistory(base []v1.History, layers int) []v1.History {
	if len(base) == 0 {
		return nil
	}
	for range layers {
		base = append(base, v1.History{CreatedBy: "modelkiln"})
	}
	return base
}

// withModelPath sets KUBEDL_MODEL_PATH in an environment.
func withModelPath(environment []string) []string {
	environment = slices.DeleteFunc(environment, func(variable string) bool {
		return strings.HasPrefix(variable, v1alpha1.ModelPathEnv+"=")
	})
	return append(environment, v1alpha1.ModelPathEnv+"="+v1alpha1.ModelPath)
}
