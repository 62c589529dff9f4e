package sourcepolicy

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// pseudoFilesystems lists filesystem types that hold the kernel's or the node's
// state, and never a model.
var pseudoFilesystems = map[string]bool{
	"autofs":      true,
	"binfmt_misc": true,
	"bpf":         true,
	"cgroup":      true,
	"cgroup2":     true,
	"configfs":    true,
	"debugfs":     true,
	"devpts":      true,
	"devtmpfs":    true,
	"efivarfs":    true,
	"fusectl":     true,
	"hugetlbfs":   true,
	"mqueue":      true,
	"nfsd":        true,
	"nsfs":        true,
	"proc":        true,
	"pstore":      true,
	"ramfs":       true,
	"resctrl":     true,
	"rootfs":      true,
	"rpc_pipefs":  true,
	"securityfs":  true,
	"selinuxfs":   true,
	"sysfs":       true,
	"tmpfs":       true,
	"tracefs":     true,
}

// kubeletDir is the kubelet's default root directory.
const kubeletDir = "/var/lib/kubelet"

// Agents of the node that keep files of every pod.
const (
	kubelet = "the kubelet"
	runtime = "the container runtime"
)

// agentMounts lists the mounts that every pod has and whose roots reveal where
// the node's agents keep their files on a filesystem.
var agentMounts = []struct {
	agent, mountpoint string
	// root matches the mount's root; its group is the agent's directory.
	root *regexp.Regexp
}{
	{agent: kubelet, mountpoint: "/etc/hosts", root: regexp.MustCompile(`^(.*)/pods/[^/]+/etc-hosts$`)},
	// containerd, Docker and CRI-O.
	{agent: runtime, mountpoint: "/etc/resolv.conf", root: regexp.MustCompile(`^(.*)/io\.containerd\.[^/]+/`)},
	{agent: runtime, mountpoint: "/etc/resolv.conf", root: regexp.MustCompile(`^(.*)/containers/[0-9a-f]{64}/resolv\.conf$`)},
	{agent: runtime, mountpoint: "/etc/resolv.conf", root: regexp.MustCompile(`^(.*)/storage/overlay-containers/[0-9a-f]{64}/`)},
}

// device identifies a filesystem.
type device struct{ major, minor int }

func deviceOf(m *mountinfo.Info) device { return device{major: m.Major, minor: m.Minor} }

// agentDir is a directory in which an agent of the node keeps its files.
type agentDir struct {
	agent  string
	device device
	// dir is relative to the root of the device's filesystem.
	dir string
}

// CheckMounted returns an error if what is mounted at mountpoint is not the
// requested host path, but something that a symbolic link on the node led to.
// mounts is the text of the pod's /proc/self/mountinfo. The error is a message
// for the user who wrote the path.
//
// The kernel names a mount's root relative to its filesystem. If the pod's other
// mounts reveal where the node has mounted that filesystem, the requested path
// must be that mount point joined with the root. Otherwise it must equal the
// root, or end with it, as it does when the filesystem is mounted at one of the
// path's parents.
//
// One gap remains: on every filesystem except the one with the kubelet's
// directory, a symbolic link to the filesystem's mount point, or to a path on it
// with the same ending, looks like a mount at the requested path. This includes
// system disks, such as a separate /boot or /var/log, whose mount points the pod
// does not see. Two things limit the gap: the namespace's Pod Security Standard
// level, which decides whether users can request host paths at all, and Allowed,
// if only the platform team can create links in the allowed directories.
func (r HostPathRules) CheckMounted(mounts, mountpoint, requested string) error {
	if err := r.Check(requested); err != nil {
		return err
	}
	// A line that cannot be parsed is an error: it cannot be judged.
	all, err := mountinfo.GetMountsFromReader(strings.NewReader(mounts), nil)
	if err != nil {
		return fmt.Errorf("the kernel's mount table cannot be read: %w", err)
	}
	source := topMount(all, mountpoint)
	if source == nil {
		return fmt.Errorf("nothing is mounted at %s, where %s was expected: the workflow template does not match this release", mountpoint, requested)
	}
	agents := agentDirs(all)
	for _, m := range all {
		if !isWithin(m.Mountpoint, mountpoint) {
			continue
		}
		if err := checkContent(m, agents, requested); err != nil {
			return err
		}
	}
	if isWithinAny(requested, r.BindMounted) {
		return nil
	}
	return r.checkRoot(source, agents, requested)
}

// topMount returns the mount that is visible at mountpoint, which is the last
// one there, or nil.
func topMount(mounts []*mountinfo.Info, mountpoint string) *mountinfo.Info {
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].Mountpoint == mountpoint {
			return mounts[i]
		}
	}
	return nil
}

// agentDirs returns the directories of the node's agents that the pod's own
// mounts reveal. They matter when an agent's directory is a separate disk, whose
// mount root does not contain /var/lib/kubelet.
func agentDirs(mounts []*mountinfo.Info) []agentDir {
	var dirs []agentDir
	for _, known := range agentMounts {
		m := topMount(mounts, known.mountpoint)
		if m == nil {
			continue
		}
		match := known.root.FindStringSubmatch(m.Root)
		if match == nil {
			continue
		}
		dirs = append(dirs, agentDir{agent: known.agent, device: deviceOf(m), dir: cmp.Or(match[1], "/")})
	}
	return dirs
}

// checkContent returns an error for a mount that holds state of the node.
func checkContent(m *mountinfo.Info, agents []agentDir, requested string) error {
	if pseudoFilesystems[m.FSType] {
		return fmt.Errorf("%s resolves to a filesystem of type %s on the node, which holds no models: use the path of the model's directory, such as /models/resnet/1", requested, m.FSType)
	}
	if !path.IsAbs(m.Root) || path.Clean(m.Root) != m.Root {
		// The kernel writes "/foo//deleted" for a deleted directory, and no path
		// at all for its own objects.
		return fmt.Errorf("%s resolves to %q on the node, which is no longer a directory: use the path of an existing directory", requested, m.Root)
	}
	for _, agent := range agents {
		if agent.device != deviceOf(m) {
			continue
		}
		if isWithin(m.Root, agent.dir) || isWithin(agent.dir, m.Root) {
			return fmt.Errorf("%s resolves to files of %s on the node: move the model to its own directory, such as /models/resnet/1", requested, agent.agent)
		}
	}
	return nil
}

// checkRoot compares the mount's root with the requested path.
func (r HostPathRules) checkRoot(source *mountinfo.Info, agents []agentDir, requested string) error {
	if actual, known := nodePath(source, agents); known {
		if actual == requested {
			return nil
		}
		return resolvesElsewhere(requested, actual)
	}
	if source.Root == requested || source.Root == "/" {
		return nil
	}
	if !strings.HasSuffix(requested, source.Root) {
		return resolvesElsewhere(requested, source.Root)
	}
	// The path ends with the root, so the filesystem may be mounted at one of its
	// parents. It may as well be the node's root filesystem behind a symbolic
	// link.
	if denied := r.deniedBy(source.Root); denied != "" {
		return fmt.Errorf("%s cannot be distinguished from the node's own %s, because it %s on its filesystem: move the model to a directory with another name, such as /models/resnet/1", requested, source.Root, relation(source.Root, denied))
	}
	return nil
}

func resolvesElsewhere(requested, actual string) error {
	return fmt.Errorf("%s resolves to %s on the node, through a symbolic link or a bind mount: use that path instead", requested, actual)
}

// nodePath returns the path by which the node knows the mount's root, if the
// mount is on the filesystem that holds the kubelet's directory, whose path is
// known both on the node and on the filesystem. On most nodes that is the root
// filesystem, and the two are the same; they differ on a btrfs subvolume, an
// ostree deployment, a node that is a container, or a filesystem that is mounted
// at /var.
func nodePath(m *mountinfo.Info, agents []agentDir) (string, bool) {
	for _, agent := range agents {
		if agent.device != deviceOf(m) || agent.agent != kubelet {
			continue
		}
		onNode, onFilesystem, known := cutCommonSuffix(kubeletDir, agent.dir)
		if !known || !isWithin(m.Root, onFilesystem) {
			return "", false
		}
		return path.Join(onNode, strings.TrimPrefix(m.Root, strings.TrimSuffix(onFilesystem, "/"))), true
	}
	return "", false
}

// cutCommonSuffix removes the path elements that two paths end with in common,
// and returns what is left of each. One common element is no evidence.
func cutCommonSuffix(a, b string) (aHead, bHead string, found bool) {
	const minCommon = 2
	common := 0
	for a != "/" && b != "/" && path.Base(a) == path.Base(b) {
		a, b = path.Dir(a), path.Dir(b)
		common++
	}
	return a, b, common >= minCommon
}
