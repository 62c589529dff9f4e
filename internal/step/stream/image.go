// Package stream puts an image together of layers that the registry has: the
// engine that needs no Kaniko, no root and no disk.
package stream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
)

// Layer is a layer that the registry has.
type Layer struct {
	// Hash is its digest as the registry has it, and Unpacked as it is unpacked.
	// They are the same where it is not compressed.
	Hash, Unpacked v1.Hash
	// Length is its size in the registry, in bytes.
	Length int64
	// Type says whether it is compressed, and how.
	Type types.MediaType
	// Files counts the files of the model in it, and Bytes is the sum of their
	// sizes.
	Files, Bytes int64
	// Stat is the layer.StatDigest of its files when they were read, where a
	// later version may go by it.
	Stat string
}

// AnnotationStat is the annotation of a layer, in the image's manifest, with its
// Stat. It is no part of the layer, whose digest does not depend on times.
const AnnotationStat = "model.kubedl.io/stat"

// annotations are what the image's manifest says of a layer.
func (l Layer) annotations() map[string]string {
	if l.Stat == "" {
		return nil
	}
	return map[string]string{AnnotationStat: l.Stat}
}

// errNotHeld says that a layer's content was asked for, which is in the registry
// and nowhere else.
var errNotHeld = errors.New("the layer is in the registry only")

// pushed is a Layer as the library wants to have it.
type pushed struct{ Layer }

func (l pushed) Digest() (v1.Hash, error)             { return l.Hash, nil }
func (l pushed) DiffID() (v1.Hash, error)             { return l.Unpacked, nil }
func (l pushed) Size() (int64, error)                 { return l.Length, nil }
func (l pushed) MediaType() (types.MediaType, error)  { return l.Type, nil }
func (l pushed) Compressed() (io.ReadCloser, error)   { return nil, errNotHeld }
func (l pushed) Uncompressed() (io.ReadCloser, error) { return nil, errNotHeld }

// ManifestLayer is the layer with the list of a model's files, and the SHA-256 of
// that list, in hexadecimal.
func ManifestLayer(manifest layer.Manifest) (v1.Layer, string, error) {
	var list bytes.Buffer
	encoder := json.NewEncoder(&list)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(manifest); err != nil {
		return nil, "", fmt.Errorf("write the list of files: %w", err)
	}
	archive, err := layer.NewArchive(layer.ManifestDir, []layer.Entry{
		{Path: layer.RootDir, Type: layer.Dir, Mode: layer.ModeExecutable},
		{Path: path.Base(layer.ManifestFile), Type: layer.File, Mode: layer.ModeReadable, Size: int64(list.Len())},
	})
	if err != nil {
		return nil, "", err
	}
	content := make([]byte, 0, archive.Size())
	for piece := range archive.Pieces(0) {
		if piece.Bytes == nil {
			piece.Bytes = list.Bytes()
		}
		content = append(content, piece.Bytes...)
	}
	digest := sha256.Sum256(list.Bytes())
	return static.NewLayer(content, types.OCIUncompressedLayer), hex.EncodeToString(digest[:]), nil
}

// Image puts a model on a base image, which is nil for none: its layers, and the
// list of its files as the last one.
func Image(base v1.Image, model []Layer, list v1.Layer, labels map[string]string) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH}
	var addenda []mutate.Addendum
	if base != nil {
		below, from, err := layersOf(base)
		if err != nil {
			return nil, err
		}
		addenda, config = below, from
	}
	for _, l := range model {
		addenda = append(addenda, mutate.Addendum{Layer: pushed{l}, Annotations: l.annotations()})
	}
	addenda = append(addenda, mutate.Addendum{Layer: list})
	image, err := mutate.Append(image, addenda...)
	if err != nil {
		return nil, fmt.Errorf("put the layers together: %w", err)
	}
	whole, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("put the layers together: %w", err)
	}
	config.RootFS = whole.RootFS
	config.History = historyOf(config.History, len(model)+1)
	config.Config.Env = withModelPath(config.Config.Env)
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	maps.Copy(config.Config.Labels, labels)
	return mutate.ConfigFile(image, config)
}

// layersOf are a base image's layers, with their names in OCI's words, and a
// copy of its config.
func layersOf(base v1.Image) ([]mutate.Addendum, *v1.ConfigFile, error) {
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
		addenda = append(addenda, mutate.Addendum{Layer: l, MediaType: ociName(manifest.Layers[i].MediaType), URLs: manifest.Layers[i].URLs})
	}
	return addenda, config.DeepCopy(), nil
}

// ociName is what OCI calls a layer that Docker has another name for.
func ociName(mediaType types.MediaType) types.MediaType {
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

// historyOf is a history with so many layers of a model. A base image that has
// none, as it may, leaves none.
func historyOf(base []v1.History, layers int) []v1.History {
	if len(base) == 0 {
		return nil
	}
	for range layers {
		base = append(base, v1.History{CreatedBy: "modelkiln"})
	}
	return base
}

// withModelPath is an environment that says where the model is.
func withModelPath(environment []string) []string {
	environment = slices.DeleteFunc(environment, func(variable string) bool {
		return strings.HasPrefix(variable, v1alpha1.ModelPathEnv+"=")
	})
	return append(environment, v1alpha1.ModelPathEnv+"="+v1alpha1.ModelPath)
}
