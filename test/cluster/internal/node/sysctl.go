package node

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const procSys = "/proc/sys"

// kubeletSysctls are the kernel parameters that kubelet sets if they have other values. They apply to the whole machine,
// and nothing would restore them.
var kubeletSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// protectSysctls replaces the kernel parameters that kubelet sets with regular files in dir, which already contain the
// expected values, and makes all others read-only, so that a newer version of a program that changes another one fails
// visibly. The parameters of the network belong to the node's namespace and stay writable.
func protectSysctls(dir string) error {
	network := filepath.Join(procSys, "net")
	if err := syscall.Mount(network, network, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	for name, value := range kubeletSysctls {
		file, parameter := filepath.Join(dir, name), filepath.Join(procSys, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, parameter, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", parameter, err)
		}
	}
	if err := syscall.Mount(procSys, procSys, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	return syscall.Mount("", procSys, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
}
