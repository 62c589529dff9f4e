package shares

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// MountNFS does what mount(8) asks its helper mount.nfs for, with the arguments of a helper: SERVER:/PATH TARGET, then
// options. The folder SERVER/PATH below root is mounted. It complains in the words of the real one, which are those that
// people find in events.
func MountNFS(args []string, root string, bind Bind) error {
	if len(args) < 2 {
		return errors.New("mount.nfs: no mount point provided")
	}
	share, target := args[0], args[1]
	server, name, found := strings.Cut(share, ":/")
	if !found {
		return fmt.Errorf("mount.nfs: remote share not in 'host:dir' format")
	}
	folder, err := folderOf(root, strings.Trim(server, "[]"), name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mount.nfs: mounting %s failed, reason given by server: No such file or directory", share)
	}
	if err != nil {
		return fmt.Errorf("mount.nfs: %w", err)
	}
	if err := bind(folder, target, isReadOnly(args[2:])); err != nil {
		return fmt.Errorf("mount.nfs: %w", err)
	}
	return nil
}

// isReadOnly tells whether a helper's options say so.
func isReadOnly(options []string) bool {
	for i, option := range options {
		if option == "-o" && i+1 < len(options) && slices.Contains(strings.Split(options[i+1], ","), "ro") {
			return true
		}
	}
	return false
}
