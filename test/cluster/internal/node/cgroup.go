package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CgroupRoot is the path, the same in every cgroup hierarchy, of the control group that contains all processes of the
// cluster: the node's own programs in one leaf and the processes that kubelet starts in others. Because it contains every
// process of the cluster and no other, the cluster can be stopped without touching other processes of the machine.
const CgroupRoot = "/modelkiln-cluster"

// programsLeaf is the control group of the node's own programs. Under cgroup v2 only leaf groups may contain processes.
const programsLeaf = "programs"

const cgroupMounts = "/sys/fs/cgroup"

// cgroupsV2 reports whether the machine has only the unified hierarchy.
func cgroupsV2() bool {
	_, err := os.Stat(filepath.Join(cgroupMounts, "cgroup.controllers"))
	return err == nil
}

// cgroupHierarchies returns the mount points of the machine's cgroup hierarchies.
func cgroupHierarchies() ([]string, error) {
	if cgroupsV2() {
		return []string{cgroupMounts}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	found := cgroupMountPoints(string(mounts))
	if len(found) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted under /sys/fs/cgroup, but kubelet requires one; mount the cgroup file system first")
	}
	return found, nil
}

// cgroupMountPoints returns the mount points of the cgroup hierarchies in mounts, which has the format of /proc/mounts.
func cgroupMountPoints(mounts string) []string {
	var found []string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			found = append(found, fields[1])
		}
	}
	return found
}

// trackingHierarchy returns the hierarchy in which the node's own programs join the cluster's control group. One hierarchy
// is enough to find the programs later. In the other hierarchies they stay in the caller's groups and keep its limits.
func trackingHierarchy(mounts []string) (string, error) {
	if pids := slices.Index(mounts, filepath.Join(cgroupMounts, "pids")); pids >= 0 {
		return mounts[pids], nil
	}
	for _, mount := range mounts {
		// A new cpuset group has no CPUs and rejects processes until CPUs are assigned to it.
		if !strings.Contains(filepath.Base(mount), "cpuset") {
			return mount, nil
		}
	}
	return "", fmt.Errorf("no cgroup hierarchy can contain the cluster's processes: only %v is mounted; mount the pids hierarchy", mounts)
}

// programsCgroup returns the directory of the control group of the node's own programs.
func programsCgroup() (string, error) {
	mounts, err := cgroupHierarchies()
	if err != nil {
		return "", err
	}
	tracking, err := trackingHierarchy(mounts)
	return filepath.Join(tracking, CgroupRoot, programsLeaf), err
}

// createCgroups creates the cluster's control group in every hierarchy, because kubelet requires its root group to exist
// in all of them.
func createCgroups() error {
	mounts, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		if err := os.MkdirAll(filepath.Join(mount, CgroupRoot), 0o755); err != nil {
			return fmt.Errorf("cannot create a control group in %s: %w", mount, err)
		}
	}
	if cgroupsV2() {
		// A control group has the controllers that its parent enables for it. Controllers that are already enabled stay so.
		control := filepath.Join(cgroupMounts, "cgroup.subtree_control")
		if err := os.WriteFile(control, []byte("+cpu +cpuset +memory +pids"), 0o644); err != nil {
			return fmt.Errorf("cannot enable the cgroup controllers that kubelet requires in %s: %w", control, err)
		}
	}
	programs, err := programsCgroup()
	if err != nil {
		return err
	}
	return os.MkdirAll(programs, 0o755)
}

// joinProgramsCgroup moves the calling process, and so every process that it starts, into the control group of the node's
// own programs.
func joinProgramsCgroup() error {
	group, err := programsCgroup()
	if err != nil {
		return err
	}
	return joinCgroup(group)
}

// joinCgroup moves the calling process into a control group. It does not create cgroup.procs: in a directory that is not a
// control group, that would leave the process untracked.
func joinCgroup(group string) error {
	procs, err := os.OpenFile(filepath.Join(group, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = procs.WriteString(strconv.Itoa(os.Getpid()))
	return errors.Join(err, procs.Close())
}

// cgroups returns all control groups of the cluster, deepest first.
func cgroups() ([]string, error) {
	mounts, err := cgroupHierarchies()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, mount := range mounts {
		err := filepath.WalkDir(filepath.Join(mount, CgroupRoot), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the group was removed during the walk
			}
			if err == nil && entry.IsDir() {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Reverse(found)
	return found, nil
}

// cgroupProcesses returns the IDs of the processes in the cluster's control groups.
func cgroupProcesses() ([]int, error) {
	all, err := cgroups()
	if err != nil {
		return nil, err
	}
	pids := map[int]bool{}
	for _, group := range all {
		content, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			continue // the group was removed in the meantime
		}
		for _, field := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids[pid] = true
			}
		}
	}
	list := make([]int, 0, len(pids))
	for pid := range pids {
		list = append(list, pid)
	}
	return list, nil
}

// killProcesses kills every process in the cluster's control groups. It polls, because a process may start another one
// before it is killed, cgroup v1 does not notify anyone when a group becomes empty, and the processes are not children
// that this process could wait for.
func killProcesses(timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		pids, err := cgroupProcesses()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of the cluster did not exit; inspect them with: ps -o pid,stat,wchan,cmd -p %s", pids, join(pids))
		}
		for _, pid := range pids {
			// An error means that the process has already exited.
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// removeCgroups removes the cluster's control groups, which must be empty. It polls, because a group stays busy for a
// moment after its last process has exited.
func removeCgroups(timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		all, err := cgroups()
		if err != nil || len(all) == 0 {
			return err
		}
		for _, group := range all {
			err = errors.Join(err, os.Remove(group))
		}
		if err != nil && time.Now().After(deadline) {
			return fmt.Errorf("cannot remove the cluster's control groups: %w", err)
		}
	}
}

func join(pids []int) string {
	list := make([]string, len(pids))
	for i, pid := range pids {
		list[i] = strconv.Itoa(pid)
	}
	return strings.Join(list, ",")
}
