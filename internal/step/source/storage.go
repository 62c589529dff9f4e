// Package source reads the folder that a model is made from: always beneath
// the place where the storage is mounted, so that no symbolic link leads a
// reader out of it, and never writing to it.
package source

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// Storage is the folder that a model is made from.
type Storage struct {
	// Mount is where the volume is mounted, an absolute path.
	Mount string `json:"mount"`
	// SubPath is the folder within the volume, relative; empty is all of it.
	SubPath string `json:"subPath,omitempty"`
	// Name is what people call it, as in "the path /foo".
	Name string `json:"name"`
}

// Open opens the folder. The error is a *failure.Error.
func (s Storage) Open() (*os.Root, error) {
	volume, err := os.OpenRoot(s.Mount)
	if err != nil {
		return nil, s.cannotOpen(err)
	}
	if s.SubPath == "" {
		return volume, nil
	}
	defer func() { _ = volume.Close() }()
	info, err := volume.Stat(s.SubPath)
	if err != nil {
		return nil, s.cannotOpen(err)
	}
	if !info.IsDir() {
		return nil, s.cannotOpen(syscall.ENOTDIR)
	}
	folder, err := volume.OpenRoot(s.SubPath)
	if err != nil {
		return nil, s.cannotOpen(err)
	}
	return folder, nil
}

func (s Storage) cannotOpen(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failure.New(v1alpha1.ReasonSourceMissing, "%s does not exist: put the model there, or name the folder where it is", s.Name).Because(err)
	case errors.Is(err, syscall.ENOTDIR) || s.isFile():
		return failure.New(v1alpha1.ReasonSourceNotDirectory, "%s is not a folder: name the folder that holds the model's files", s.Name).Because(err)
	case errors.Is(err, fs.ErrPermission):
		return failure.New(v1alpha1.ReasonSourceUnreadable, "%s may not be read by the build: give root the right to read it", s.Name).Because(err)
	default:
		return failure.New(v1alpha1.ReasonSourceUnsafe, "%s cannot be used, because it leads out of the storage or in a circle: name the folder itself", s.Name).Because(err)
	}
}

// isFile says whether the volume is a single file.
func (s Storage) isFile() bool {
	info, err := os.Stat(s.Mount)
	return err == nil && !info.IsDir()
}
