package node

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const kernelSettings = "/proc/sys"

// kubeletSettings are the settings of the kernel that kubelet writes when it finds other values. They are the whole
// machine's, and nobody would put them back.
var kubeletSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// guardKernelSettings lets kubelet find the settings that it wants in plain files under the given folder, and keeps all
// others from being written, so that what a newer version of a program wants to change fails and is noticed. Those of
// the network are the node's own, and stay as they are.
func guardKernelSettings(folder string) error {
	network := filepath.Join(kernelSettings, "net")
	if err := syscall.Mount(network, network, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	for name, value := range kubeletSettings {
		file, setting := filepath.Join(folder, name), filepath.Join(kernelSettings, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, setting, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	if err := syscall.Mount(kernelSettings, kernelSettings, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	return syscall.Mount("", kernelSettings, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
}
