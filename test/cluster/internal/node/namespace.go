package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// The node runs in its own network and mount namespaces. Neither is pinned to a file: an idle process holds them, and when
// the last process of the node exits, for whatever reason, the kernel removes the node's interfaces, iptables rules and
// mounts.

// Names of the hidden subcommands with which this program becomes one of the node's processes.
const (
	HoldCommand   = "node-hold"
	SetupCommand  = "node-setup"
	EnterCommand  = "node-enter"
	holderName    = "holder"
	holderProgram = "sleep"
)

// privateDirs maps directories that the node's programs use under a fixed path to directories under DataDir. The latter
// are bind-mounted over the former in the node's mount namespace.
var privateDirs = map[string]string{
	"/var/lib/kubelet":    filepath.Join(DataDir, "kubelet"),
	"/var/lib/cni":        filepath.Join(DataDir, "cni"),
	"/var/log/containers": filepath.Join(DataDir, "container-logs"),
}

// NFSDir and EFSDir contain what the stand-ins for file servers export: one directory for each server or file system.
const (
	NFSDir = DataDir + "/nfs"
	EFSDir = DataDir + "/efs"
)

// MountHelperDir is the directory of mount helpers, such as mount.nfs, that the node sees in /sbin in addition to the
// machine's own: mount(8) searches for helpers nowhere else. The helpers must exist before the node is created.
const MountHelperDir = DataDir + "/sbin"

// overlayMountHelpers makes the mount helpers visible in the node's /sbin. The machine's /sbin does not change.
func overlayMountHelpers() error {
	sbin, err := filepath.EvalSymlinks("/sbin")
	if err != nil {
		return err
	}
	return syscall.Mount("overlay", sbin, "overlay", syscall.MS_RDONLY, "lowerdir="+MountHelperDir+":"+sbin)
}

// Hold creates the node's namespaces and runs SetUp in them. It replaces the calling process and returns only on failure.
func Hold() error {
	if err := joinProgramsCgroup(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Later mounts on the machine propagate to the node, but mounts in the node do not propagate to the machine.
	return execute("unshare", "--net", "--mount", "--propagation", "slave", "--", self, SetupCommand)
}

// SetUp prepares the namespaces that Hold created, from inside them, and then sleeps until the node is stopped.
func SetUp() error {
	// Volumes with mount propagation require a shared root mount.
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot share the node's root mount: %w", err)
	}
	// The paths of sockets, locks and the network namespaces of pods are fixed in the programs.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a private /run for the node: %w", err)
	}
	for dir, private := range privateDirs {
		if err := syscall.Mount(private, dir, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot mount a private %s for the node: %w", dir, err)
		}
	}
	if err := overlayMountHelpers(); err != nil {
		return fmt.Errorf("cannot add the mount helpers in %s to the node's /sbin: %w", MountHelperDir, err)
	}
	if err := protectSysctls("/run/kernel-settings"); err != nil {
		return fmt.Errorf("cannot protect the machine's kernel parameters from the node: %w", err)
	}
	// Parameters under /proc/sys/net belong to the network namespace of the process that writes them.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("cannot enable IP forwarding in the node: %w", err)
	}
	return execute(holderProgram, "infinity")
}

// Enter replaces the calling process with a program in the node. The first of args is the process ID of the holder; the
// others are the program's command line.
func Enter(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s requires a process ID and a command line; it is for internal use only", EnterCommand)
	}
	if err := joinProgramsCgroup(); err != nil {
		return err
	}
	return execute("nsenter", append([]string{"--target", args[0], "--net", "--mount", "--wdns=/", "--"}, args[1:]...)...)
}

// Enter replaces the calling process with a program in the recorded node, for inspection. The program is killed when the
// cluster is brought down.
func (s *State) Enter(argv []string) error {
	if s == nil || !s.Processes[holderName].Alive() {
		return errors.New("no cluster is running; start one with: make cluster-up")
	}
	return Enter(append([]string{strconv.Itoa(s.Processes[holderName].PID)}, argv...))
}

// execute replaces the calling process with another program.
func execute(program string, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("%s not found; install the package that contains it, util-linux or coreutils", program)
	}
	return syscall.Exec(path, append([]string{program}, args...), os.Environ())
}

// isHolding reports whether a process has finished SetUp and holds the node's namespaces.
func isHolding(pid int) bool {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return err == nil && string(name) == holderProgram+"\n"
}
