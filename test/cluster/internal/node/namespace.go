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

// The node lives in a network and a mount namespace of its own. Neither is pinned to a file: a process that does nothing
// holds them, and when the last process of the node is gone the kernel takes its interfaces, iptables rules and mounts
// away, however that process ended.

// Names of the hidden subcommands by which this program becomes one of the node's processes.
const (
	HoldCommand   = "node-hold"
	SetupCommand  = "node-setup"
	EnterCommand  = "node-enter"
	holderName    = "holder"
	holderProgram = "sleep"
)

// privateFolders are the folders of the machine that the node's programs use by a fixed name. In the node's mount
// namespace each is a folder of the cluster's, under Home.
var privateFolders = map[string]string{
	"/var/lib/kubelet":    filepath.Join(Home, "kubelet"),
	"/var/lib/cni":        filepath.Join(Home, "cni"),
	"/var/log/containers": filepath.Join(Home, "container-logs"),
}

// Folders of the cluster's data that stand in for file servers: in each is a folder for each server.
const (
	NFSFolder = Home + "/nfs"
	EFSFolder = Home + "/efs"
)

// MountHelpers is the folder of the programs that mount(8) of the node finds beside the machine's own in /sbin, where it
// looks for those of a kind of file system, and nowhere else. They have to be there before the node is made.
const MountHelpers = Home + "/sbin"

// addMountHelpers lets the node see them there, and the machine not.
func addMountHelpers() error {
	sbin, err := filepath.EvalSymlinks("/sbin")
	if err != nil {
		return err
	}
	return syscall.Mount("overlay", sbin, "overlay", syscall.MS_RDONLY, "lowerdir="+MountHelpers+":"+sbin)
}

// Hold makes the node's namespaces and stays in them. It replaces the calling process and returns only on failure.
func Hold() error {
	if err := joinCgroup(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Mounts of the machine still show up in the node, those of the node not on the machine.
	return execute("unshare", "--net", "--mount", "--propagation", "slave", "--", self, SetupCommand)
}

// SetUp prepares the namespaces that Hold made, from within them, and then does nothing for as long as the node lives.
func SetUp() error {
	// Volumes that ask for mount propagation need a root that propagates.
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot share mounts within the node: %w", err)
	}
	// Sockets, locks and network namespaces of pods go here by names that are fixed in the programs.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("cannot give the node a /run of its own: %w", err)
	}
	for folder, private := range privateFolders {
		if err := syscall.Mount(private, folder, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot give the node a %s of its own: %w", folder, err)
		}
	}
	if err := addMountHelpers(); err != nil {
		return fmt.Errorf("cannot give the node's mount the helpers of %s: %w", MountHelpers, err)
	}
	if err := guardKernelSettings("/run/kernel-settings"); err != nil {
		return fmt.Errorf("cannot keep the machine's kernel settings from the node: %w", err)
	}
	// Settings under /proc/sys/net are those of the network namespace of whoever writes them.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("cannot let the node forward packets to its pods: %w", err)
	}
	return execute(holderProgram, "infinity")
}

// Enter becomes a program of the node: args are the holder's number and the program's command line.
func Enter(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s takes a process and a command line; it is not meant to be called by hand", EnterCommand)
	}
	if err := joinCgroup(); err != nil {
		return err
	}
	return execute("nsenter", append([]string{"--target", args[0], "--net", "--mount", "--wdns=/", "--"}, args[1:]...)...)
}

// Enter becomes a program of the node that the record is of, as a person who looks into it wants. It ends with the node.
func (s *State) Enter(argv []string) error {
	if s == nil || !s.Processes[holderName].Alive() {
		return errors.New("no cluster runs; bring one up with: make cluster-up")
	}
	return Enter(append([]string{strconv.Itoa(s.Processes[holderName].PID)}, argv...))
}

// execute replaces the calling process by another program.
func execute(program string, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("%s is missing; install the package util-linux or coreutils that it is part of", program)
	}
	return syscall.Exec(path, append([]string{program}, args...), os.Environ())
}

// isHolding tells whether a process has got as far as doing nothing.
func isHolding(pid int) bool {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return err == nil && string(name) == holderProgram+"\n"
}
