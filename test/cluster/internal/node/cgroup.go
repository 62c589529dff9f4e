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

// CgroupRoot is the control group, of the same path in each hierarchy, that everything of the cluster runs in: the
// node's own programs in one leaf of it, and what kubelet starts in another. Whatever is in it is the cluster's,
// and nothing else is, which is how a cluster can be ended without touching another process of the machine.
const CgroupRoot = "/modelkiln-cluster"

// programsLeaf is the group of the node's own programs. Under cgroup v2 only leaves may hold processes.
const programsLeaf = "programs"

const cgroupMounts = "/sys/fs/cgroup"

// cgroupsV2 tells whether the machine has the unified hierarchy only.
func cgroupsV2() bool {
	_, err := os.Stat(filepath.Join(cgroupMounts, "cgroup.controllers"))
	return err == nil
}

// CgroupsV1 tells whether kubelet has to be told to accept the machine's old hierarchies.
func CgroupsV1() bool { return !cgroupsV2() }

// hierarchies are the mount points of the machine's cgroup hierarchies. They are used as they are.
func hierarchies() ([]string, error) {
	if cgroupsV2() {
		return []string{cgroupMounts}, nil
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	found := cgroupMountPoints(string(mounts))
	if len(found) == 0 {
		return nil, errors.New("no control groups are mounted under /sys/fs/cgroup, which kubelet needs; mount them first")
	}
	return found, nil
}

// cgroupMountPoints are where a listing of mounts, as in /proc/mounts, has hierarchies of control groups.
func cgroupMountPoints(mounts string) []string {
	var found []string
	for line := range strings.Lines(mounts) {
		words := strings.Fields(line)
		if len(words) > 2 && (words[2] == "cgroup" || words[2] == "cgroup2") {
			found = append(found, words[1])
		}
	}
	return found
}

// trackingHierarchy is the one of the hierarchies in which the node's own programs are put into the cluster's group. One
// is enough to find them again; in the others they stay in the group of whoever called, and so under its limits.
func trackingHierarchy(mounts []string) (string, error) {
	if pids := slices.Index(mounts, filepath.Join(cgroupMounts, "pids")); pids >= 0 {
		return mounts[pids], nil
	}
	for _, mount := range mounts {
		// A new group of this one has no processors, and takes no process before it is given some.
		if !strings.Contains(filepath.Base(mount), "cpuset") {
			return mount, nil
		}
	}
	return "", fmt.Errorf("no hierarchy of control groups can hold the cluster's processes: there is only %v; mount pids as well", mounts)
}

// programsGroup is the folder of the control group of the node's own programs.
func programsGroup() (string, error) {
	mounts, err := hierarchies()
	if err != nil {
		return "", err
	}
	tracking, err := trackingHierarchy(mounts)
	return filepath.Join(tracking, CgroupRoot, programsLeaf), err
}

// makeCgroups makes the cluster's group in each hierarchy; kubelet insists on finding its root there.
func makeCgroups() error {
	mounts, err := hierarchies()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		if err := os.MkdirAll(filepath.Join(mount, CgroupRoot), 0o755); err != nil {
			return fmt.Errorf("cannot make a control group in %s: %w", mount, err)
		}
	}
	if cgroupsV2() {
		// A group has the controllers that its parent hands down; what already is handed down stays so.
		control := filepath.Join(cgroupMounts, "cgroup.subtree_control")
		if err := os.WriteFile(control, []byte("+cpu +cpuset +memory +pids"), 0o644); err != nil {
			return fmt.Errorf("cannot hand the controllers that kubelet needs down from %s: %w", control, err)
		}
	}
	programs, err := programsGroup()
	if err != nil {
		return err
	}
	return os.MkdirAll(programs, 0o755)
}

// joinCgroup puts the calling process, and so all that it starts, into the group of the node's own programs.
func joinCgroup() error {
	group, err := programsGroup()
	if err != nil {
		return err
	}
	return enterGroup(group)
}

// enterGroup puts the calling process into a control group. A folder that is none has no such file, and must not be given
// one: the process would go untracked.
func enterGroup(group string) error {
	procs, err := os.OpenFile(filepath.Join(group, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = procs.WriteString(strconv.Itoa(os.Getpid()))
	return errors.Join(err, procs.Close())
}

// groups are all control groups of the cluster, the deepest first.
func groups() ([]string, error) {
	mounts, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, mount := range mounts {
		err := filepath.WalkDir(filepath.Join(mount, CgroupRoot), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // ended while we looked
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

// members are the processes in the cluster's groups.
func members() ([]int, error) {
	all, err := groups()
	if err != nil {
		return nil, err
	}
	pids := map[int]bool{}
	for _, group := range all {
		content, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			continue // the group ended while we looked
		}
		for _, word := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(word); err == nil {
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

// killMembers ends everything in the cluster's groups. Processes that are just starting others are caught by looking
// again, after a moment: the kernel tells nobody, on control groups v1, when one is empty, and these processes are not
// our children to wait for.
func killMembers(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids, err := members()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of the cluster do not end; look at their state with: ps -o pid,stat,wchan,cmd -p %s", pids, join(pids))
		}
		for _, pid := range pids {
			// A process that is gone already is what is wanted.
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// removeCgroups removes the cluster's groups, which have to be empty. One whose last process has just ended is busy for a
// moment more, of which the kernel tells nobody either.
func removeCgroups(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		all, err := groups()
		if err != nil || len(all) == 0 {
			return err
		}
		for _, group := range all {
			err = errors.Join(err, os.Remove(group))
		}
		if err != nil && time.Now().After(deadline) {
			return fmt.Errorf("control groups of the cluster cannot be removed: %w", err)
		}
	}
}

func join(pids []int) string {
	words := make([]string, len(pids))
	for i, pid := range pids {
		words[i] = strconv.Itoa(pid)
	}
	return strings.Join(words, ",")
}
