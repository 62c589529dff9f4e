package kaniko

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// placeLayer puts a layer, whose files were staged, into the image.
func placeLayer(from, image *os.Root, plan layer.Plan, number int) error {
	if number == 0 {
		if err := createModelDir(image); err != nil {
			return err
		}
	}
	for index, e := range plan.Layers[number] {
		if err := placeEntry(from, image, stagedFile(number, index), e); err != nil {
			return err
		}
	}
	// Adding an entry changes the modification time of its directory, which would
	// then be archived once more. Inner directories come first.
	for _, e := range slices.Backward(plan.Layers[0]) {
		if e.Type != layer.Dir {
			continue
		}
		if err := setMetadata(image, path.Join(layer.ModelDir, e.Path), e); err != nil {
			return err
		}
	}
	return nil
}

func placeEntry(from, image *os.Root, staged string, e layer.Entry) error {
	name := path.Join(layer.ModelDir, e.Path)
	switch {
	case e.Type == layer.File:
		if err := image.Rename(staged, name); err != nil {
			return fmt.Errorf("move a file to its place in the image: %w", err)
		}
	case e.Type == layer.Symlink:
		if err := source.CheckLink(from, e); err != nil {
			return err
		}
		return createLink(image, name, e)
	case e.Path != layer.RootDir:
		if err := image.Mkdir(name, e.Mode.Perm()); err != nil {
			return fmt.Errorf("create a directory in the image: %w", err)
		}
	}
	return nil
}

// createModelDir creates the model's directory in the image. Files that the base
// image has there would become a part of the model, so they are refused.
func createModelDir(image *os.Root) error {
	err := image.Mkdir(layer.ModelDir, layer.ModeExecutable.Perm())
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	isEmpty, err := isEmptyDir(image, layer.ModelDir)
	if err != nil {
		return fmt.Errorf("inspect the base image: %w", err)
	}
	if !isEmpty {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the base image already has files at %s: choose a base image without them", v1alpha1.ModelPath)
	}
	return nil
}

// isEmptyDir reports whether name is an empty directory.
func isEmptyDir(image *os.Root, name string) (bool, error) {
	info, err := image.Lstat(name)
	if err != nil || !info.IsDir() {
		return false, err
	}
	dir, err := image.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = dir.Close() }()
	if _, err := dir.ReadDir(1); !errors.Is(err, io.EOF) {
		return false, err
	}
	return true, nil
}

// placeManifest writes the model's manifest into the image, and returns the
// SHA-256 of what it wrote.
func placeManifest(image *os.Root, manifest layer.Manifest, modTime int64) (string, error) {
	// A base image that was built from a model already has a manifest.
	if err := image.RemoveAll(layer.ManifestDir); err != nil {
		return "", fmt.Errorf("remove the base image's manifest: %w", err)
	}
	if err := image.Mkdir(layer.ManifestDir, layer.ModeExecutable.Perm()); err != nil {
		return "", fmt.Errorf("create a directory for the manifest: %w", err)
	}
	file, err := image.OpenFile(layer.ManifestFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, layer.ModeReadable.Perm())
	if err != nil {
		return "", fmt.Errorf("create the manifest: %w", err)
	}
	digest, err := modelimage.WriteManifest(file, manifest)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	if err := setMetadata(image, layer.ManifestFile, layer.Entry{Mode: layer.ModeReadable, ModTime: modTime}); err != nil {
		return "", err
	}
	err = setMetadata(image, layer.ManifestDir, layer.Entry{Mode: layer.ModeExecutable, ModTime: modTime})
	return digest, err
}

// newestModTime returns the newest modification time in a model. What is added
// to the image beside the model has this time, so that it does not depend on when
// the image was built.
func newestModTime(plan layer.Plan) (newest int64) {
	for _, e := range plan.Entries() {
		newest = max(newest, e.ModTime)
	}
	return newest
}

// createLink creates a symbolic link in the image, with its owner and time.
func createLink(image *os.Root, name string, e layer.Entry) error {
	if err := image.Symlink(e.Link, name); err != nil {
		return fmt.Errorf("create a link in the image: %w", err)
	}
	dir, err := image.Open(path.Dir(name))
	if err != nil {
		return fmt.Errorf("set the time of a link in the image: %w", err)
	}
	defer func() { _ = dir.Close() }()
	modTime := unix.NsecToTimespec(e.ModTime)
	err = unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{modTime, modTime}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("set the time of a link in the image: %w", err)
	}
	return chownRoot(image, name)
}

// setMetadata sets the owner, mode and time of a file or directory in the image,
// regardless of the process's umask and of set-group-ID directories.
func setMetadata(image *os.Root, name string, e layer.Entry) error {
	if err := chownRoot(image, name); err != nil {
		return err
	}
	if err := image.Chmod(name, e.Mode.Perm()); err != nil {
		return fmt.Errorf("set a mode in the image: %w", err)
	}
	modTime := time.Unix(0, e.ModTime)
	if err := image.Chtimes(name, modTime, modTime); err != nil {
		return fmt.Errorf("set a time in the image: %w", err)
	}
	return nil
}

// chownRoot sets the owner in the image to 0:0. In a pod this process is root;
// without root, as in a test, it does nothing.
func chownRoot(image *os.Root, name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := image.Lchown(name, 0, 0); err != nil {
		return fmt.Errorf("set an owner in the image: %w", err)
	}
	return nil
}
