// Package modelimage reads and writes what distinguishes a model's image from
// others: the manifest of the model's files, which is its last layer, and the
// labels with its lineage.
package modelimage

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// MaxManifestSize is the maximum number of bytes to read of a manifest from a
// registry.
const MaxManifestSize = 256 << 20

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

// ReadManifest reads the manifest of the model from an image. If the image has
// none, one that cannot be decoded, or one whose layer removes a part of the model, the
// error is an *InvalidError.
func ReadManifest(image v1.Image) (manifest layer.Manifest, err error) {
	whiteouts, err := findManifest(image, func(content io.Reader) error {
		var err error
		if manifest, err = decodeManifest(json.NewDecoder(content)); err != nil {
			return Invalid("the manifest of its files, /%s, cannot be decoded: %v", layer.ManifestFile, err)
		}
		return nil
	})
	if err != nil {
		return manifest, err
	}
	for _, name := range whiteouts {
		if layer.RemovesModel(cmp.Or(manifest.Dir, layer.ModelDir), name) {
			return manifest, Invalid("the last layer removes a part of the model: %q", name)
		}
	}
	return manifest, nil
}

// DecodeManifest decodes the manifest of a model from a file of an image, and returns the
// SHA-256 of what it read in hexadecimal. A manifest of more than MaxManifestSize bytes, or
// one that cannot be decoded, is an *InvalidError.
func DecodeManifest(from io.Reader) (manifest layer.Manifest, digest string, err error) {
	content := &hashReader{reader: io.LimitReader(from, MaxManifestSize+1), digest: sha256.New()}
	source := &errorKeeper{reader: content}
	if manifest, err = decodeManifest(json.NewDecoder(source)); err == nil {
		_, err = io.Copy(io.Discard, source)
	}
	switch {
	case source.err != nil:
		return manifest, "", source.err
	case content.bytes > MaxManifestSize:
		return manifest, "", Invalid("it has more than %d bytes", MaxManifestSize)
	case err != nil:
		return manifest, "", Invalid("it cannot be decoded: %v", err)
	}
	return manifest, hex.EncodeToString(content.digest.Sum(nil)), nil
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
		case "include":
			manifest.Include, err = decodeList[string](from)
		case "exclude":
			manifest.Exclude, err = decodeList[string](from)
		case "dir":
			err = from.Decode(&manifest.Dir)
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
	errNoList   = errors.New("entries, layers and patterns must be lists")
	errTooMany  = fmt.Errorf("it has more than %d entries, layers or patterns", maxManifestItems)
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
// in hexadecimal. Its memory use does not depend on the size of the manifest. If the
// image has none, the error is an *InvalidError.
func ManifestDigest(image v1.Image) (digest string, err error) {
	_, err = findManifest(image, func(content io.Reader) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return Invalid("the manifest of its files cannot be read: %v", err)
		}
		digest = hex.EncodeToString(sum.Sum(nil))
		return nil
	})
	return digest, err
}

// maxWhiteouts is how many whiteouts the last layer may have. Builds write none.
const maxWhiteouts = 1000

// findManifest calls read with the manifest in an image's last layer, which holds
// nothing else of the model, and returns the names of the whiteouts there.
func findManifest(image v1.Image, read func(content io.Reader) error) (whiteouts []string, err error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	diffIDs := DiffIDs(config)
	if len(layers) == 0 || len(layers) != len(diffIDs) {
		return nil, errNoManifest
	}
	last := len(layers) - 1
	found := false
	err = ReadLayer(layers[last], diffIDs[last], MaxManifestSize, func(header *tar.Header, content io.Reader) error {
		if layer.IsWhiteout(header.Name) {
			whiteouts = append(whiteouts, header.Name)
		}
		if len(whiteouts) > maxWhiteouts || layer.RemovesModel(layer.ModelDir, header.Name) {
			return Invalid("the last layer removes a part of the model: %q", header.Name)
		}
		if layer.CleanName(header.Name) != layer.ManifestFile {
			return nil
		}
		if found {
			return Invalid("the last layer holds /%s twice", layer.ManifestFile)
		}
		found = true
		return read(content)
	})
	if err == nil && !found {
		return nil, errNoManifest
	}
	return whiteouts, err
}

var errNoManifest = Invalid("it lacks the manifest of the model's files, /%s", layer.ManifestFile)
