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
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// placeLayer puts a layer, whose files were staged, into the image.
func placeLayer(files source.Files, image *os.Root, plan layer.Plan, number int) error {
	if number == 0 {
		if err := createModelDir(image, plan.ModelDir()); err != nil {
			return err
		}
	}
	for index, e := range plan.Layers[number] {
		if err := placeEntry(files, image, stagedFile(number, index), path.Join(plan.ModelDir(), e.Path), e); err != nil {
			return err
		}
	}
	// Adding an entry changes the modification time of its directory, which would
	// then be archived once more. Inner directories come first.
	for _, e := range slices.Backward(plan.Layers[0]) {
		if e.Type != layer.Dir {
			continue
		}
		if err := setMetadata(image, path.Join(plan.ModelDir(), e.Path), e); err != nil {
			return err
		}
	}
	return nil
}

// placeEntry puts an entry to its place in the image, name.
func placeEntry(files source.Files, image *os.Root, staged, name string, e layer.Entry) error {
	switch {
	case e.Type == layer.File:
		if err := image.Rename(staged, name); err != nil {
			return fmt.Errorf("move a file to its place in the image: %w", err)
		}
	case e.Type == layer.Symlink:
		if err := files.CheckLink(e); err != nil {
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

// createModelDir creates the model's directory in the image, and those above it. Files
// that the base image has there would become a part of the model, so they are refused;
// mount-check has refused them for every variant of the base image.
func createModelDir(image *os.Root, modelDir string) error {
	for i, c := range modelDir {
		if c != '/' {
			continue
		}
		err := image.Mkdir(modelDir[:i], layer.ModeExecutable.Perm())
		if err == nil {
			err = image.Chmod(modelDir[:i], layer.ModeExecutable.Perm())
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create a directory in the image: %w", err)
		}
	}
	err := image.Mkdir(modelDir, layer.ModeExecutable.Perm())
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	isEmpty, err := isEmptyDir(image, modelDir)
	if err != nil {
		return fmt.Errorf("inspect the base image: %w", err)
	}
	if !isEmpty {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the base image already has files at /%s: choose a base image without them", modelDir)
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
