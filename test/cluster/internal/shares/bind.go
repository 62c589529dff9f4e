// Package shares contains stand-ins for file servers that the test cluster does not have: an NFS server, for which the
// kernel may even lack the client, and AWS EFS. They bind-mount a directory of the cluster's data instead of a server's
// export. Everything else is real: kubelet runs mount(8), which runs the mount helper, and calls the driver over CSI.
package shares

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Bind bind-mounts a directory at target.
type Bind func(dir, target string, readOnly bool) error

// BindMount implements Bind with mount(2).
func BindMount(dir, target string, readOnly bool) error {
	if err := syscall.Mount(dir, target, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	// The kernel ignores other options in the first call.
	if err := syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		_ = syscall.Unmount(target, 0)
		return err
	}
	return nil
}

// exportedDir returns the directory below root that stands in for the directory name of a server.
func exportedDir(root, server, name string) (string, error) {
	if server == "" || server == "." || server == ".." || strings.Contains(server, "/") || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%s:%s is not a valid server and directory", server, name)
	}
	dir := filepath.Join(root, server, name)
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return dir, nil
}
