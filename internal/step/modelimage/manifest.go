package step

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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

// readManifest reads the list of the model's files from an image.
func readManifest(image v1.Image) (manifest layer.Manifest, found bool, err error) {
	found, err = findManifest(image, func(list io.Reader) error {
		if err := json.NewDecoder(list).Decode(&manifest); err != nil {
			return fmt.Errorf("read the list of files: %w", err)
		}
		return nil
	})
	return manifest, found, err
}

// manifestDigest returns the SHA-256 of the list of the model's files in an
// image, in hexadecimal. It takes no more memory for a longer list.
func manifestDigest(image v1.Image) (digest string, found bool, err error) {
	found, err = findManifest(image, func(list io.Reader) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, list); err != nil {
			return fmt.Errorf("read the list of files: %w", err)
		}
		digest = hex.EncodeToString(sum.Sum(nil))
		return nil
	})
	return digest, found, err
}

// findManifest finds the list of the model's files in an image's last layer,
// which holds nothing else, and has it read. That the layer removes something
// of the model is a *failure.Error.
func findManifest(image v1.Image, read func(list io.Reader) error) (found bool, err error) {
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		return false, err
	}
	content, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		return false, err
	}
	defer func() { _ = content.Close() }()
	entries := tar.NewReader(io.LimitReader(content, maxManifest))
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return false, fmt.Errorf("read the last layer: %w", err)
		}
		if kaniko.RemovesModel(header.Name) {
			return false, brokenImage("the image's last layer removes a part of the model: %q", header.Name)
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

// ofContent returns an error that came up while reading an image's content as
// a failure.
func ofContent(repository *registry.Repository, err error) error {
	var f *failure.Error
	if errors.As(err, &f) {
		return f
	}
	return ofRegistry(repository.Explain(err))
}

// writeManifest writes the list of the model's files into the image, and
// returns the SHA-256 of what it wrote.
func writeManifest(image *os.Root, manifest layer.Manifest, plan layer.Plan) (string, error) {
	newest := newestIn(plan)
	// A base image that was made of a model has a list of its own.
	if err := image.RemoveAll(layer.ManifestFolder); err != nil {
		return "", fmt.Errorf("remove the base image's list of files: %w", err)
	}
	if err := image.Mkdir(layer.ManifestFolder, layer.ModeExecutable.Perm()); err != nil {
		return "", fmt.Errorf("make a folder for the list of files: %w", err)
	}
	file, err := image.OpenFile(layer.ManifestFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, layer.ModeReadable.Perm())
	if err != nil {
		return "", fmt.Errorf("write the list of files: %w", err)
	}
	defer func() { _ = file.Close() }()
	digest := sha256.New()
	if err := encodeJSON(io.MultiWriter(file, digest), manifest); err != nil {
		return "", fmt.Errorf("write the list of files: %w", err)
	}
	if err := normalise(image, layer.ManifestFile, layer.Entry{Mode: layer.ModeReadable, ModTime: newest}); err != nil {
		return "", err
	}
	err = normalise(image, layer.ManifestFolder, layer.Entry{Mode: layer.ModeExecutable, ModTime: newest})
	return hex.EncodeToString(digest.Sum(nil)), err
}

// newestIn is when the newest thing in a model was changed. What is put beside
// the model has this time, so that it does not depend on when it was built.
func newestIn(plan layer.Plan) (newest int64) {
	for _, e := range plan.Entries() {
		newest = max(newest, e.ModTime)
	}
	return newest
}
