// Package modelimage reads and writes what distinguishes a model's image from
// others: the manifest of the model's files, which is its last layer, and the
// labels with its lineage.
package modelimage

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// maxManifestSize is the maximum number of bytes to read of a manifest from a
// registry.
const maxManifestSize = 256 << 20

// maxManifestItems is the maximum number of entries, and of layers, of a manifest
// from a registry. A build packages at most 200,000. Two bytes of JSON could
// otherwise stand for a hundred in memory.
const maxManifestItems = 1_000_000

// WriteManifest writes the manifest as images hold it, and returns the SHA-256
// of what it wrote in hexadecimal.
func WriteManifest(w io.Writer, manifest layer.Manifest) (digest string, err error) {
	sum := sha256.New()
	encoder := json.NewEncoder(io.MultiWriter(w, sum))
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(manifest); err != nil {
		return "", fmt.Errorf("write the manifest of the model: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// ReadManifest reads the manifest of the model from an image.
func ReadManifest(image v1.Image) (manifest layer.Manifest, found bool, err error) {
	found, err = findManifest(image, func(content io.Reader) error {
		var err error
		if manifest, err = decodeManifest(json.NewDecoder(content)); err != nil {
			return fmt.Errorf("read the manifest of the model: %w", err)
		}
		return nil
	})
	return manifest, found, err
}

// decodeManifest decodes a manifest entry by entry, so that its JSON is never in
// memory as a whole.
func decodeManifest(from *json.Decoder) (manifest layer.Manifest, err error) {
	token, err := from.Token()
	if err != nil {
		return manifest, err
	}
	if token != json.Delim('{') {
		return manifest, errNoObject
	}
	for from.More() {
		key, err := from.Token()
		if err != nil {
			return manifest, err
		}
		switch key {
		case "entries":
			manifest.Entries, err = decodeList[layer.ManifestEntry](from)
		case "layers":
			manifest.Layers, err = decodeList[layer.BuiltLayer](from)
		case "streamed":
			err = from.Decode(&manifest.Streamed)
		default:
			err = from.Decode(&json.RawMessage{})
		}
		if err != nil {
			return manifest, err
		}
	}
	_, err = from.Token()
	return manifest, err
}

var (
	errNoObject = errors.New("it is not a JSON object")
	errNoList   = errors.New("entries and layers must be lists")
	errTooMany  = fmt.Errorf("it has more than %d entries or layers", maxManifestItems)
)

// decodeList decodes a list, or null.
func decodeList[T any](from *json.Decoder) ([]T, error) {
	token, err := from.Token()
	if err != nil || token == nil {
		return nil, err
	}
	if token != json.Delim('[') {
		return nil, errNoList
	}
	var list []T
	for from.More() {
		if len(list) == maxManifestItems {
			return nil, errTooMany
		}
		var item T
		if err := from.Decode(&item); err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	_, err = from.Token()
	return list, err
}

// ManifestDigest returns the SHA-256 of the manifest of the model in an image,
// in hexadecimal. Its memory use does not depend on the size of the manifest.
func ManifestDigest(image v1.Image) (digest string, found bool, err error) {
	found, err = findManifest(image, func(content io.Reader) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return fmt.Errorf("read the manifest of the model: %w", err)
		}
		digest = hex.EncodeToString(sum.Sum(nil))
		return nil
	})
	return digest, found, err
}

// findManifest calls read with the manifest in an image's last layer, which holds
// nothing else. It returns a *failure.Error if that layer removes a part of the
// model.
func findManifest(image v1.Image, read func(content io.Reader) error) (found bool, err error) {
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		return false, err
	}
	content, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		return false, err
	}
	defer func() { _ = content.Close() }()
	entries := tar.NewReader(io.LimitReader(content, maxManifestSize))
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return false, fmt.Errorf("read the last layer: %w", err)
		}
		if layer.RemovesModel(header.Name) {
			return false, failure.BrokenImage("the image's last layer removes a part of the model: %q", header.Name)
		}
		if path.Clean(header.Name) != layer.ManifestFile {
			continue
		}
		if err := read(entries); err != nil {
			return false, err
		}
		found = true
	}
}
