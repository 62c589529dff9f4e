// Package shares stands in for file servers that this machine does not have: an NFS server, of which not even the
// kernel's client is there, and AWS EFS. What a server would export is a folder of the cluster's own data, bind-mounted.
// Everything up to that is real: kubelet calls mount(8), which calls the program for NFS, and speaks CSI with the driver.
package shares

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Bind mounts a folder at a mount point.
type Bind func(folder, target string, readOnly bool) error

// BindMount is the real Bind.
func BindMount(folder, target string, readOnly bool) error {
	if err := syscall.Mount(folder, target, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	// The kernel takes no further option with the first call.
	if err := syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		_ = syscall.Unmount(target, 0)
		return err
	}
	return nil
}

// folderOf is the folder below root that stands in for one of a server's.
func folderOf(root, server, name string) (string, error) {
	if server == "" || server == "." || server == ".." || strings.Contains(server, "/") || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%s:%s is no server and folder", server, name)
	}
	folder := filepath.Join(root, server, name)
	info, err := os.Stat(folder)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no folder", folder)
	}
	return folder, nil
}
