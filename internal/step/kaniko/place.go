package step

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// defaultImageRoot is where Kaniko makes the image's file system: its own.
const defaultImageRoot = "/"

// modelFolder is the model's folder, in the image's root.
var modelFolder = strings.TrimPrefix(v1alpha1.ModelPath, "/")

// placeLayer puts a layer into the image, whose files were copied before.
func placeLayer(from, image *os.Root, plan layer.Plan, number int) error {
	if number == 0 {
		if err := makeModelFolder(image); err != nil {
			return err
		}
	}
	for index, e := range plan.Layers[number] {
		if err := placeEntry(from, image, staged(number, index), e); err != nil {
			return err
		}
	}
	// Putting something into a folder changes its time, which would make
	// another folder of it. The inner ones come first.
	for _, e := range slices.Backward(plan.Layers[0]) {
		if e.Type != layer.Folder {
			continue
		}
		if err := normalise(image, path.Join(modelFolder, e.Path), e); err != nil {
			return err
		}
	}
	return nil
}

func placeEntry(from, image *os.Root, copied string, e layer.Entry) error {
	at := path.Join(modelFolder, e.Path)
	switch {
	case e.Type == layer.File:
		if err := image.Rename(copied, at); err != nil {
			return fmt.Errorf("move a file to its place in the image: %w", err)
		}
	case e.Type == layer.Symlink:
		if err := source.CheckLink(from, e); err != nil {
			return err
		}
		return makeLink(image, at, e)
	case e.Path != layer.TopFolder:
		if err := image.Mkdir(at, e.Mode.Perm()); err != nil {
			return fmt.Errorf("make a folder in the image: %w", err)
		}
	}
	return nil
}

// makeModelFolder makes the folder in the image that holds the model. Whatever
// the base image has there, if anything, would be taken for a part of it.
func makeModelFolder(image *os.Root) error {
	err := image.Mkdir(modelFolder, layer.ModeExecutable.Perm())
	if errors.Is(err, fs.ErrExist) {
		return mayBeTaken(image, modelFolder)
	}
	return err
}

// mayBeTaken says whether what a base image has at the model's place is an
// empty folder.
func mayBeTaken(image *os.Root, folder string) error {
	used := failure.New(v1alpha1.ReasonInvalidSpec, "the base image has something at %s already: choose a base image without", v1alpha1.ModelPath)
	info, err := image.Lstat(folder)
	if err != nil {
		return fmt.Errorf("look at the base image: %w", err)
	}
	if !info.IsDir() {
		return used
	}
	dir, err := image.Open(folder)
	if err != nil {
		return fmt.Errorf("look at the base image: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if _, err := dir.ReadDir(1); !errors.Is(err, io.EOF) {
		return used
	}
	return nil
}

// makeLink makes a symbolic link in the image, with its owner and its time.
func makeLink(image *os.Root, at string, e layer.Entry) error {
	if err := image.Symlink(e.Link, at); err != nil {
		return fmt.Errorf("make a link in the image: %w", err)
	}
	folder, err := image.Open(path.Dir(at))
	if err != nil {
		return fmt.Errorf("set a link's time in the image: %w", err)
	}
	defer func() { _ = folder.Close() }()
	changed := unix.NsecToTimespec(e.ModTime)
	err = unix.UtimesNanoAt(int(folder.Fd()), path.Base(at), []unix.Timespec{changed, changed}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("set a link's time in the image: %w", err)
	}
	return own(image, at)
}

// normalise gives something in the image its owner, mode and time, whatever
// the process's umask or a set-group-ID folder made of them.
func normalise(image *os.Root, at string, e layer.Entry) error {
	if err := own(image, at); err != nil {
		return err
	}
	if err := image.Chmod(at, e.Mode.Perm()); err != nil {
		return fmt.Errorf("set a mode in the image: %w", err)
	}
	changed := time.Unix(0, e.ModTime)
	if err := image.Chtimes(at, changed, changed); err != nil {
		return fmt.Errorf("set a time in the image: %w", err)
	}
	return nil
}

// own gives something in the image to 0:0. In a pod this runs as root; without
// root, as in a test, things stay with whoever made them.
func own(image *os.Root, at string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := image.Lchown(at, 0, 0); err != nil {
		return fmt.Errorf("set an owner in the image: %w", err)
	}
	return nil
}
