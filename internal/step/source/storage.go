// Package source reads the folder that a model is made from: always beneath
// the place where the storage is mounted, so that no symbolic link leads a
// reader out of it, and never writing to it.
package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
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
	// Checked is the folder that was at Mount when it was checked; nil before.
	Checked *Identity `json:"checked,omitempty"`
}

// Identity tells a folder from every other one on the node.
type Identity struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Check opens the folder and remembers which one is mounted. Each container of
// a pod has a mount of its own, and a symbolic link on the node may have led
// the next one's elsewhere. The error is a *failure.Error.
func (s *Storage) Check() (*os.Root, error) {
	volume, err := s.openVolume()
	if err != nil {
		return nil, err
	}
	defer func() { _ = volume.Close() }()
	identity, err := identify(volume)
	if err != nil {
		return nil, err
	}
	s.Checked = &identity
	return s.Open()
}

// Open opens the folder, and no other one than was checked. The error is a
// *failure.Error.
func (s Storage) Open() (*os.Root, error) {
	volume, err := s.openVolume()
	if err != nil {
		return nil, err
	}
	if err := s.isChecked(volume); err != nil {
		_ = volume.Close()
		return nil, err
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

func (s Storage) openVolume() (*os.Root, error) {
	volume, err := os.OpenRoot(s.Mount)
	if err != nil {
		return nil, s.cannotOpen(err)
	}
	return volume, nil
}

func (s Storage) isChecked(volume *os.Root) error {
	if s.Checked == nil {
		return nil
	}
	identity, err := identify(volume)
	if err != nil {
		return err
	}
	if identity != *s.Checked {
		return failure.New(v1alpha1.ReasonSourceForbidden, "%s is another folder than the one that was checked before: leave the folder, and links on the way to it, as they are during a build", s.Name)
	}
	return nil
}

func identify(folder *os.Root) (Identity, error) {
	info, err := folder.Stat(layer.RootDir)
	if err != nil {
		return Identity{}, cannotRead(layer.RootDir, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Identity{}, fmt.Errorf("the system does not tell which folder is mounted: %T", info.Sys())
	}
	return Identity{Device: stat.Dev, Inode: stat.Ino}, nil
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
