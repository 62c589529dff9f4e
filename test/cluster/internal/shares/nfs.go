package shares

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// MountNFS implements the mount helper mount.nfs. Its arguments are those that mount(8) passes to a helper: SERVER:/PATH,
// the mount point, and options. It mounts the directory SERVER/PATH below root. Its errors are those of the real
// mount.nfs, which users see in events.
func MountNFS(args []string, root string, bind Bind) error {
	if len(args) < 2 {
		return errors.New("mount.nfs: no mount point provided")
	}
	share, target := args[0], args[1]
	server, name, found := strings.Cut(share, ":/")
	if !found {
		return fmt.Errorf("mount.nfs: remote share not in 'host:dir' format")
	}
	dir, err := exportedDir(root, strings.Trim(server, "[]"), name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mount.nfs: mounting %s failed, reason given by server: No such file or directory", share)
	}
	if err != nil {
		return fmt.Errorf("mount.nfs: %w", err)
	}
	if err := bind(dir, target, isReadOnly(args[2:])); err != nil {
		return fmt.Errorf("mount.nfs: %w", err)
	}
	return nil
}

// isReadOnly reports whether the options contain ro.
func isReadOnly(options []string) bool {
	for i, option := range options {
		if option == "-o" && i+1 < len(options) && slices.Contains(strings.Split(options[i+1], ","), "ro") {
			return true
		}
	}
	return false
}
