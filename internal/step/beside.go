package step

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/modelkiln/modelkiln/internal/layer"
)

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

// kserveFolder is where KServe looks for a model in an image.
const kserveFolder = "models"

// linkForKServe makes a link to the model where KServe looks for it. KServe
// reads it from another container, as /proc/PID/root/models, so that the link is
// relative. What a base image has there stays: that may be what it runs.
func linkForKServe(image *os.Root, plan layer.Plan, out io.Writer) error {
	_, err := image.Lstat(kserveFolder)
	if err == nil {
		say(out, "the base image has something at /%s, which stays: KServe finds that, and not the model", kserveFolder)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the base image: %w", err)
	}
	return makeLink(image, kserveFolder, layer.Entry{Link: modelFolder, ModTime: newestIn(plan)})
}
