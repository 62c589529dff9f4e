package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// pushedLayer is a layer that is in the registry.
type pushedLayer struct {
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

func (l pushedLayer) annotations() map[string]string {
	if l.StatDigest == "" {
		return nil
	}
	return map[string]string{modelimage.AnnotationStatDigest: l.StatDigest}
}

// errContentNotLocal is the error of reading the content of a layer that is in
// the registry only.
var errContentNotLocal = errors.New("the content of the layer is in the registry only")

// remoteLayer is a pushedLayer as a v1.Layer.
type remoteLayer struct{ layer pushedLayer }

func (r remoteLayer) Digest() (v1.Hash, error)             { return r.layer.Digest, nil }
func (r remoteLayer) DiffID() (v1.Hash, error)             { return r.layer.DiffID, nil }
func (r remoteLayer) Size() (int64, error)                 { return r.layer.Size, nil }
func (r remoteLayer) MediaType() (types.MediaType, error)  { return r.layer.MediaType, nil }
func (r remoteLayer) Compressed() (io.ReadCloser, error)   { return nil, errContentNotLocal }
func (r remoteLayer) Uncompressed() (io.ReadCloser, error) { return nil, errContentNotLocal }

// newManifestLayer returns the layer with the manifest of a model, and the
// SHA-256 of the manifest in hexadecimal.
func newManifestLayer(manifest layer.Manifest) (v1.Layer, string, error) {
	var file bytes.Buffer
	digest, err := modelimage.WriteManifest(&file, manifest)
	if err != nil {
		return nil, "", err
	}
	archive, err := layer.NewArchive(layer.ManifestDir, []layer.Entry{
		{Path: layer.RootDir, Type: layer.Dir, Mode: layer.ModeExecutable},
		{Path: path.Base(layer.ManifestFile), Type: layer.File, Mode: layer.ModeReadable, Size: int64(file.Len())},
	})
	if err != nil {
		return nil, "", err
	}
	content := make([]byte, 0, archive.Size())
	for piece := range archive.Pieces(0) {
		if piece.Bytes == nil {
			piece.Bytes = file.Bytes()
		}
		content = append(content, piece.Bytes...)
	}
	return static.NewLayer(content, types.OCIUncompressedLayer), digest, nil
}

// assemble returns the image of a base image, which is nil for none, the layers
// of a model and, last, its manifest.
func assemble(base v1.Image, model []pushedLayer, manifest v1.Layer, labels map[string]string) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH}
	var addenda []mutate.Addendum
	if base != nil {
		layers, baseConfig, err := baseLayers(base)
		if err != nil {
			return nil, err
		}
		addenda, config = layers, baseConfig
	}
	for _, l := range model {
		addenda = append(addenda, mutate.Addendum{Layer: remoteLayer{l}, Annotations: l.annotations()})
	}
	addenda = append(addenda, mutate.Addendum{Layer: manifest})
	image, err := mutate.Append(image, addenda...)
	if err != nil {
		return nil, fmt.Errorf("assemble the image: %w", err)
	}
	withLayers, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("assemble the image: %w", err)
	}
	config.RootFS = withLayers.RootFS
	config.History = extendHistory(config.History, len(model)+1)
	config.Config.Env = withModelPath(config.Config.Env)
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	maps.Copy(config.Config.Labels, labels)
	return mutate.ConfigFile(image, config)
}

// baseLayers returns the layers of a base image, with OCI media types, and a copy
// of its config.
func baseLayers(base v1.Image) ([]mutate.Addendum, *v1.ConfigFile, error) {
	layers, err := base.Layers()
	if err != nil {
		return nil, nil, err
	}
	manifest, err := base.Manifest()
	if err != nil {
		return nil, nil, err
	}
	config, err := base.ConfigFile()
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
