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

// Storage is the directory that holds the model.
type Storage struct {
	// Mount is where the volume is mounted, an absolute path.
	Mount string `json:"mount"`
	// SubPath is the directory within the volume, relative; empty is the whole
	// volume.
	SubPath string `json:"subPath,omitempty"`
	// Name is what messages call it, as in "the path /foo".
	Name string `json:"name"`
	// Patterns say which of the files are packaged. Check adds those in the directory's
	// layer.IgnoreFile.
	Patterns layer.Patterns `json:"patterns,omitzero"`
	// FollowLinks is true if symbolic links are packaged as what they lead to in the
	// volume.
	FollowLinks bool `json:"followLinks,omitempty"`
	// Checked identifies the directory that was mounted when it was checked; nil
	// before.
	Checked *Identity `json:"checked,omitempty"`
}

// Identity identifies a directory among all on the node.
type Identity struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Check opens the directory and records its identity, and the patterns in it, which do
// not change during a build. Each container of a pod has its own mount, and a symbolic
// link on the node may have changed before the next one is mounted. The error is a
// *failure.Error.
func (s *Storage) Check() (*Directory, error) {
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
	if err := s.addIgnoreFile(); err != nil {
		return nil, err
	}
	return s.Open()
}

// addIgnoreFile adds the patterns in the directory's layer.IgnoreFile.
func (s *Storage) addIgnoreFile() (err error) {
	s.Patterns, err = withIgnoreFile(s.Patterns, func() ([]byte, error) {
		dir, err := s.Open()
		if err != nil {
			return nil, err
		}
		defer func() { _ = dir.Close() }()
		return dir.readIgnoreFile()
	})
	return err
}

// Open opens the directory. It refuses any other directory than the one that was
// checked. The error is a *failure.Error.
func (s Storage) Open() (*Directory, error) {
	filter, err := layer.NewFilter(s.Patterns)
	if err != nil {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "%v", err)
	}
	volume, err := s.openVolume()
	if err != nil {
		return nil, err
	}
	if err := s.checkVolume(volume); err != nil {
		_ = volume.Close()
		return nil, err
	}
	if s.SubPath == "" || s.FollowLinks {
		return &Directory{root: volume, path: s.SubPath, filter: filter, followsLinks: s.FollowLinks}, nil
	}
	defer func() { _ = volume.Close() }()
	dir, err := volume.OpenRoot(s.SubPath)
	if err != nil {
		return nil, s.cannotOpen(err)
	}
	return &Directory{root: dir, filter: filter}, nil
}

// checkVolume checks that the volume is the one that was checked, and has the directory.
func (s Storage) checkVolume(volume *os.Root) error {
	if err := s.verifyIdentity(volume); err != nil || s.SubPath == "" {
		return err
	}
	info, err := volume.Stat(s.SubPath)
	if err != nil {
		return s.cannotOpen(err)
	}
	if !info.IsDir() {
		return s.cannotOpen(syscall.ENOTDIR)
	}
	return nil
}

func (s Storage) openVolume() (*os.Root, error) {
	volume, err := os.OpenRoot(s.Mount)
	if err != nil {
		return nil, s.cannotOpen(err)
	}
	return volume, nil
}

func (s Storage) verifyIdentity(volume *os.Root) error {
	if s.Checked == nil {
		return nil
	}
	identity, err := identify(volume)
	if err != nil {
		return err
	}
	if identity != *s.Checked {
		return failure.New(v1alpha1.ReasonSourceForbidden, "%s is not the directory that mount-check checked: do not replace the directory, or symbolic links in its path, during a build", s.Name)
	}
	return nil
}

func identify(dir *os.Root) (Identity, error) {
	info, err := dir.Stat(layer.RootDir)
	if err != nil {
		return Identity{}, cannotRead(layer.RootDir, err)
	}
	return identityOf(info)
}

func identityOf(info fs.FileInfo) (Identity, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Identity{}, fmt.Errorf("identify a directory: unexpected file information %T", info.Sys())
	}
	return Identity{Device: uint64(stat.Dev), Inode: stat.Ino}, nil //nolint:unconvert // It is an int32 on macOS.
}

func (s Storage) cannotOpen(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failure.New(v1alpha1.ReasonSourceMissing, "%s does not exist: put the model there, or name the directory that holds it", s.Name).WithCause(err)
	case errors.Is(err, syscall.ENOTDIR) || s.isFile():
		return failure.New(v1alpha1.ReasonSourceNotDirectory, "%s is not a directory: name the directory that holds the model's files", s.Name).WithCause(err)
	case errors.Is(err, fs.ErrPermission):
		return failure.New(v1alpha1.ReasonSourceUnreadable, "the build has no permission to read %s: give root read access", s.Name).WithCause(err)
	default:
		return failure.New(v1alpha1.ReasonSourceUnsafe, "%s leads out of the storage, or is a loop of symbolic links: name the directory itself", s.Name).WithCause(err)
	}
}

// isFile reports whether the volume is a single file.
func (s Storage) isFile() bool {
	info, err := os.Stat(s.Mount)
	return err == nil && !info.IsDir()
}
