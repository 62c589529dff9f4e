package hostpath

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// neverModels lists filesystem types that hold the kernel's or the node's
// state, and never a model.
var neverModels = map[string]bool{
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

// kubeletFolder is where the kubelet keeps the pods' files unless told
// otherwise.
const kubeletFolder = "/var/lib/kubelet"

// Agents of the node that keep files of every pod.
const (
	kubelet = "the kubelet"
	runtime = "the container runtime"
)

// tells lists the mounts that a pod has anyway, and whose roots tell where the
// node's agents keep their files on a filesystem.
var tells = []struct {
	agent, point string
	// root matches the mount's root; its group is the agent's folder.
	root *regexp.Regexp
}{
	{agent: kubelet, point: "/etc/hosts", root: regexp.MustCompile(`^(.*)/pods/[^/]+/etc-hosts$`)},
	// containerd, Docker and CRI-O.
	{agent: runtime, point: "/etc/resolv.conf", root: regexp.MustCompile(`^(.*)/io\.containerd\.[^/]+/`)},
	{agent: runtime, point: "/etc/resolv.conf", root: regexp.MustCompile(`^(.*)/containers/[0-9a-f]{64}/resolv\.conf$`)},
	{agent: runtime, point: "/etc/resolv.conf", root: regexp.MustCompile(`^(.*)/storage/overlay-containers/[0-9a-f]{64}/`)},
}

// agentFolder is a folder in which an agent of the node keeps its files.
type agentFolder struct {
	agent string
	// device and folder say where: the folder is relative to the filesystem.
	device, folder string
}

// CheckMounted says whether what is mounted at point is the host path that was
// asked for, and not something else that a symbolic link on the node led to.
// mountinfo is the text of the pod's /proc/self/mountinfo. The error is a
// sentence for the person who wrote the path.
//
// The kernel names a mount's root relative to its filesystem. Where the pod's
// other mounts tell where the node has mounted that filesystem, the path that
// was asked for has to be that place joined with the root. Elsewhere it has to
// be the root, or to end with it, as it does when the filesystem is mounted at
// one of the path's parents.
//
// What remains: on every filesystem but the one with the kubelet's folder, a
// symbolic link to the place where it is mounted, or to a path on it that ends
// alike, looks like a mount at the place that was asked for. That goes for
// system disks too, as a /boot or a /var/log of its own, whose names the pod
// does not see. What bounds it is the namespace's Pod Security level, by which
// people may ask for folders of nodes or may not, and Allowed, if nobody but
// the platform team can make links there.
func (r Rules) CheckMounted(mountinfo, point, asked string) error {
	if err := r.Check(asked); err != nil {
		return err
	}
	mounts, err := parseMounts(mountinfo)
	if err != nil {
		return err
	}
	source, found := mountAt(mounts, point)
	if !found {
		return fmt.Errorf("nothing is mounted at %s, where %s was to be found: the workflow template does not fit this release", point, asked)
	}
	agents := agentFolders(mounts)
	for _, m := range mounts {
		if !Within(m.point, point) {
			continue
		}
		if err := checkContent(m, agents, asked); err != nil {
			return err
		}
	}
	if withinAny(asked, r.BindMounted) {
		return nil
	}
	return r.checkRoot(source, agents, asked)
}

// mountAt returns the mount that is seen at point: the last one there.
func mountAt(mounts []mount, point string) (mount, bool) {
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].point == point {
			return mounts[i], true
		}
	}
	return mount{}, false
}

// agentFolders returns the folders of the node's agents that the pod's own
// mounts give away. They matter when an agent's folder is a disk of its own,
// whose mount root says nothing of /var/lib/kubelet.
func agentFolders(mounts []mount) []agentFolder {
	var folders []agentFolder
	for _, tell := range tells {
		m, found := mountAt(mounts, tell.point)
		if !found {
			continue
		}
		match := tell.root.FindStringSubmatch(m.root)
		if match == nil {
			continue
		}
		folders = append(folders, agentFolder{agent: tell.agent, device: m.device, folder: cmp.Or(match[1], "/")})
	}
	return folders
}

// checkContent refuses mounts that hold state of the node.
func checkContent(m mount, agents []agentFolder, asked string) error {
	if neverModels[m.fsType] {
		return fmt.Errorf("%s leads to a filesystem of type %s on the node, which holds no models: name the folder itself, as in /models/resnet/1", asked, m.fsType)
	}
	if !path.IsAbs(m.root) || path.Clean(m.root) != m.root {
		// The kernel writes "/foo//deleted" for a folder that is gone, and no
		// path at all for its own objects.
		return fmt.Errorf("%s leads to %q on the node, which is not a folder any more: name a folder that is there", asked, m.root)
	}
	for _, agent := range agents {
		if agent.device != m.device {
			continue
		}
		if Within(m.root, agent.folder) || Within(agent.folder, m.root) {
			return fmt.Errorf("%s leads to files of %s on the node: put the model into a folder of its own, as in /models/resnet/1", asked, agent.agent)
		}
	}
	return nil
}

// checkRoot compares the mount's root with the path that was asked for.
func (r Rules) checkRoot(source mount, agents []agentFolder, asked string) error {
	if really, known := nodePath(source, agents); known {
		if really == asked {
			return nil
		}
		return leadsElsewhere(asked, really)
	}
	if source.root == asked || source.root == "/" {
		return nil
	}
	if !strings.HasSuffix(asked, source.root) {
		return leadsElsewhere(asked, source.root)
	}
	// The path ends with the root, so that the filesystem may be mounted at
	// one of its parents. It may as well be the node's root filesystem behind
	// a symbolic link.
	if denied := r.denied(source.root); denied != "" {
		return fmt.Errorf("%s cannot be told from the node's own %s, because it %s on its filesystem: move the model to a folder of another name, as in /models/resnet/1", asked, source.root, relation(source.root, denied))
	}
	return nil
}

func leadsElsewhere(asked, really string) error {
	return fmt.Errorf("%s leads to %s on the node, through a symbolic link or a bind mount: name that folder itself", asked, really)
}

// nodePath returns the path under which the node knows the mount's root, if
// the mount is on the filesystem that holds the kubelet's folder, whose path
// on the node and on the filesystem are both known. On most nodes that is the
// root filesystem, and the two are the same; they differ on a btrfs
// subvolume, an ostree deployment, a node that is a container, or a
// filesystem that is mounted at /var.
func nodePath(m mount, agents []agentFolder) (string, bool) {
	for _, agent := range agents {
		if agent.device != m.device || agent.agent != kubelet {
			continue
		}
		onNode, onFilesystem, known := commonTail(kubeletFolder, agent.folder)
		if !known || !Within(m.root, onFilesystem) {
			return "", false
		}
		return path.Join(onNode, strings.TrimPrefix(m.root, strings.TrimSuffix(onFilesystem, "/"))), true
	}
	return "", false
}

// commonTail cuts off the folders that two paths end with alike, and returns
// what is left of each. One folder alike is no evidence.
func commonTail(a, b string) (aHead, bHead string, found bool) {
	const evidence = 2
	alike := 0
	for a != "/" && b != "/" && path.Base(a) == path.Base(b) {
		a, b = path.Dir(a), path.Dir(b)
		alike++
	}
	return a, b, alike >= evidence
}
