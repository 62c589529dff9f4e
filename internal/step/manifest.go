package step

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// maxManifest is the largest number of bytes that are read of a list of files
// that comes from a registry.
const maxManifest = 256 << 20

// readManifest reads the list of the model's files from an image's last layer,
// which holds nothing else. That the layer removes something of the model is a
// *failure.Error.
func readManifest(image v1.Image) (manifest layer.Manifest, found bool, err error) {
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		return manifest, false, err
	}
	content, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		return manifest, false, err
	}
	defer func() { _ = content.Close() }()
	entries := tar.NewReader(io.LimitReader(content, maxManifest))
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return manifest, found, nil
		}
		if err != nil {
			return manifest, false, fmt.Errorf("read the last layer: %w", err)
		}
		if kaniko.RemovesModel(header.Name) {
			return manifest, false, brokenImage("the image's last layer removes a part of the model: %q", header.Name)
		}
		if path.Clean(header.Name) != layer.ManifestFile {
			continue
		}
		if err := json.NewDecoder(entries).Decode(&manifest); err != nil {
			return manifest, false, fmt.Errorf("read the list of files: %w", err)
		}
		found = true
	}
}

// ofContent returns an error that came up while reading an image's content as
// a failure.
func ofContent(repository *registry.Repository, err error) error {
	var f *failure.Error
	if errors.As(err, &f) {
		return f
	}
	return ofRegistry(repository.Explain(err))
}
