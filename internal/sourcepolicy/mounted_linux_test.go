package sourcepolicy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pod returns the mount table of a pod's container as containerd creates it, with
// the kubelet's and the runtime's directories at the given roots of a filesystem,
// and with the given lines for /source.
func pod(device, kubeletRoot, runtimeRoot string, source ...string) string {
	lines := []string{
		`612 571 0:85 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/77/fs,upperdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/81/fs,workdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/81/work`,
		`613 612 0:88 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw`,
		`614 612 0:89 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755`,
		`615 614 0:90 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666`,
		`616 612 0:80 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro`,
		`617 616 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw`,
		fmt.Sprintf(`618 612 %s %s/pods/3f0a6d0e-7b7b-4b0e-9d3c-0d6f3f5f9b11/etc-hosts /etc/hosts rw,relatime - ext4 /dev/root rw,discard`, device, kubeletRoot),
		fmt.Sprintf(`619 614 %s %s/pods/3f0a6d0e-7b7b-4b0e-9d3c-0d6f3f5f9b11/containers/main/8a1b /dev/termination-log rw,relatime - ext4 /dev/root rw,discard`, device, kubeletRoot),
		fmt.Sprintf(`620 612 %s %s/io.containerd.grpc.v1.cri/sandboxes/0f2c/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/root rw,discard`, device, runtimeRoot),
		`621 612 0:77 / /var/run/secrets/kubernetes.io/serviceaccount ro,relatime - tmpfs tmpfs rw,size=8G`,
		fmt.Sprintf(`622 612 %s %s/pods/3f0a6d0e-7b7b-4b0e-9d3c-0d6f3f5f9b11/volumes/kubernetes.io~empty-dir/kiln /kiln rw,relatime - ext4 /dev/root rw,discard`, device, kubeletRoot),
	}
	lines = append(lines, source...)
	return strings.Join(lines, "\n") + "\n"
}

// ordinary returns the mount table on a node with one disk.
func ordinary(source ...string) string {
	return pod("259:1", "/var/lib/kubelet", "/var/lib/containerd", source...)
}

// kubeletDisk returns the mount table on a node whose kubelet has a separate disk.
func kubeletDisk(source ...string) string {
	return pod("259:7", "", "/containerd", source...)
}

// on returns the line for a mount at /source.
func on(device, root, fsType string) string {
	return fmt.Sprintf(`640 612 %s %s /source ro,relatime - %s /dev/x rw`, device, root, fsType)
}

func TestHostPathRulesCheckMounted(t *testing.T) {
	tests := map[string]struct {
		rules     HostPathRules
		mountinfo string
		requested string
		want      string // part of the error; empty: allowed
	}{
		"the requested directory of the node's only disk": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4")), requested: "/foo",
		},
		"a nested directory of that disk": {
			mountinfo: ordinary(on("259:1", "/var/lib/models/resnet", "xfs")), requested: "/var/lib/models/resnet",
		},
		"escaped characters in a path": {
			mountinfo: ordinary(on("259:1", `/foo/my\040models/a\011b\134c`, "ext4")), requested: "/foo/my models/a\tb\\c",
		},
		"a directory of a data disk that is mounted at a parent": {
			mountinfo: ordinary(on("8:16", "/models/resnet", "ext4")), requested: "/mnt/data/models/resnet",
		},
		"a data disk itself": {
			mountinfo: ordinary(on("8:16", "/", "xfs")), requested: "/mnt/data",
		},
		"a directory of an NFS mount": {
			mountinfo: ordinary(on("0:61", "/resnet", "nfs4")), requested: "/mnt/nfs/resnet",
		},
		"a directory of a kind node, which is an overlay": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("0:45", "/foo", "overlay")),
			requested: "/foo",
		},
		"a directory below /var of a kind node, which is a volume": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("259:1", "/var/lib/docker/volumes/1f/_data/lib/models", "ext4")),
			requested: "/var/lib/models",
		},
		"a directory of a btrfs subvolume": {
			mountinfo: pod("0:32", "/root/var/lib/kubelet", "/root/var/lib/containerd", on("0:32", "/root/foo", "btrfs")),
			requested: "/foo",
		},
		"a directory of an ostree deployment": {
			mountinfo: pod("8:4", "/ostree/deploy/fcos/var/lib/kubelet", "/ostree/deploy/fcos/var/lib/containers", on("8:4", "/ostree/deploy/fcos/var/lib/models", "xfs")),
			requested: "/var/lib/models",
		},
		"a directory of a disk that is mounted at /var": {
			mountinfo: pod("8:4", "/lib/kubelet", "/lib/containerd", on("8:4", "/mnt/models", "xfs")),
			requested: "/var/mnt/models",
		},
		"a kubelet in another directory of the root disk": {
			mountinfo: pod("8:1", "/var/snap/microk8s/common/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/containerd", on("8:1", "/foo", "ext4")),
			requested: "/foo",
		},
		"a pod whose mounts reveal no agent": {
			mountinfo: on("259:1", "/foo", "ext4"), requested: "/foo",
		},
		"the last of two mounts at the same mount point": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), on("259:1", "/bar", "ext4")), requested: "/foo", want: "resolves to /bar",
		},
		"nothing is mounted": {
			mountinfo: ordinary(), requested: "/foo", want: "nothing is mounted at /source",
		},
		"a mount table that cannot be read": {
			mountinfo: ordinary("640 612 259:1 /foo"), requested: "/foo", want: "mount table cannot be read",
		},
		"a denied path": {
			mountinfo: ordinary(on("259:1", "/etc", "ext4")), requested: "/etc", want: "is a system directory of the node",
		},
		"a path outside the allowed directories": {
			rules: HostPathRules{Allowed: []string{"/mnt"}}, mountinfo: ordinary(on("259:1", "/foo", "ext4")), requested: "/foo", want: "below /mnt",
		},
		"a directory that was deleted": {
			mountinfo: ordinary(on("259:1", "/foo//deleted", "ext4")), requested: "/foo", want: "no longer a directory",
		},

		// Attacks with a symbolic link on the node.
		"/foo/etc -> /etc": {
			mountinfo: ordinary(on("259:1", "/etc", "ext4")), requested: "/foo/etc", want: "resolves to /etc",
		},
		"/foo/etc -> /etc, the kubelet on a separate disk": {
			mountinfo: kubeletDisk(on("259:1", "/etc", "ext4")), requested: "/foo/etc", want: "cannot be distinguished from the node's own /etc",
		},
		"/foo/etc -> /etc on a kind node": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("0:45", "/etc", "overlay")),
			requested: "/foo/etc", want: "cannot be distinguished from the node's own /etc",
		},
		"/foo/x -> /etc": {
			mountinfo: ordinary(on("259:1", "/etc", "ext4")), requested: "/foo/x", want: "resolves to /etc",
		},
		"/foo/kubernetes -> /etc/kubernetes": {
			mountinfo: ordinary(on("259:1", "/etc/kubernetes", "ext4")), requested: "/foo/kubernetes", want: "resolves to /etc/kubernetes",
		},
		"/foo/etc/kubernetes, where /foo/etc -> /etc, the kubelet on a separate disk": {
			mountinfo: kubeletDisk(on("259:1", "/etc/kubernetes", "ext4")), requested: "/foo/etc/kubernetes", want: "cannot be distinguished from the node's own /etc",
		},
		"/foo/secrets -> /run/secrets": {
			mountinfo: ordinary(on("0:25", "/secrets", "tmpfs")), requested: "/foo/secrets", want: "type tmpfs",
		},
		"/foo/self -> /proc/self": {
			mountinfo: ordinary(on("0:22", "/self", "proc")), requested: "/foo/self", want: "type proc",
		},
		"/foo/pods -> /var/lib/kubelet/pods": {
			mountinfo: ordinary(on("259:1", "/var/lib/kubelet/pods", "ext4")), requested: "/foo/pods", want: "files of the kubelet",
		},
		"/foo/pods -> /var/lib/kubelet/pods on a separate disk": {
			mountinfo: kubeletDisk(on("259:7", "/pods", "ext4")), requested: "/foo/pods", want: "files of the kubelet",
		},
		"/foo/kubelet -> /var/lib/kubelet, a separate disk": {
			mountinfo: kubeletDisk(on("259:7", "/", "ext4")), requested: "/foo/kubelet", want: "files of the kubelet",
		},
		"/foo/data -> /data, which contains the kubelet's directory": {
			mountinfo: pod("8:32", "/agents/kubelet", "/agents/containerd", on("8:32", "/agents", "ext4")),
			requested: "/foo/agents", want: "files of the kubelet",
		},
		"/foo/lib/kubelet -> the kubelet's directory of a kind node": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "ext4")),
			requested: "/foo/lib/kubelet", want: "files of the kubelet",
		},
		"/foo/containerd -> the runtime's disk": {
			mountinfo: pod("259:7", "/kubelet", "/containerd", on("259:7", "/containerd/io.containerd.content.v1.content", "ext4")),
			requested: "/foo/containerd/io.containerd.content.v1.content", want: "files of the container runtime",
		},
		"/foo/all -> /": {
			mountinfo: ordinary(on("259:1", "/", "ext4")), requested: "/foo/all", want: "files of the kubelet",
		},
		"/foo/bar/models -> /bar/models, another team's": {
			rules:     HostPathRules{Allowed: []string{"/foo"}},
			mountinfo: ordinary(on("259:1", "/bar/models", "ext4")), requested: "/foo/bar/models", want: "resolves to /bar/models",
		},
		"/mnt -> /var/mnt, where /var is a separate disk": {
			mountinfo: pod("8:4", "/lib/kubelet", "/lib/containerd", on("8:4", "/mnt/models", "xfs")),
			requested: "/mnt/models", want: "resolves to /var/mnt/models",
		},
		"/secret -> /var/secret, which is denied, where /var is a separate disk": {
			rules:     HostPathRules{Denied: []string{"/var/secret"}},
			mountinfo: pod("8:4", "/lib/kubelet", "/lib/containerd", on("8:4", "/secret", "xfs")),
			requested: "/secret", want: "resolves to /var/secret",
		},
		// These cannot be distinguished from allowed paths: see CheckMounted.
		"/foo/data -> /mnt/secret, another disk itself": {
			mountinfo: ordinary(on("8:16", "/", "xfs")), requested: "/foo/data",
		},
		"/foo/data -> /mnt/secret/data, a directory of another disk with the same ending": {
			mountinfo: ordinary(on("8:16", "/data", "xfs")), requested: "/foo/data",
		},
		"/foo/models -> /bar/models": {
			mountinfo: ordinary(on("259:1", "/bar/models", "ext4")), requested: "/foo/models", want: "resolves to /bar/models",
		},
		"a name that is only a suffix of the last element": {
			mountinfo: ordinary(on("8:16", "/s", "ext4")), requested: "/mnt/models", want: "resolves to /s",
		},
		"a link to a directory that the cluster denies": {
			rules:     HostPathRules{Denied: []string{"/secret"}},
			mountinfo: kubeletDisk(on("259:1", "/secret", "ext4")), requested: "/foo/secret", want: "cannot be distinguished from the node's own /secret",
		},
		"a pseudo filesystem mounted below": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), `641 640 0:22 / /source/chroot/proc ro - proc proc rw`), requested: "/foo", want: "type proc",
		},
		"a disk mounted below": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), `641 640 8:16 / /source/more ro - xfs /dev/sdb rw`), requested: "/foo",
		},
		"a mount outside the mount point": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), `641 640 0:22 / /source-of-all ro - proc proc rw`), requested: "/foo",
		},

		// Bind mounts that the platform team has listed.
		"a bind mount that is not listed": {
			mountinfo: ordinary(on("259:1", "/home/ann/models", "ext4")), requested: "/foo", want: "resolves to /home/ann/models",
		},
		"a listed bind mount": {
			rules:     HostPathRules{BindMounted: []string{"/foo"}},
			mountinfo: ordinary(on("259:1", "/home/ann/models/resnet", "ext4")), requested: "/foo/resnet",
		},
		"a listed bind mount of the kubelet's files": {
			rules:     HostPathRules{BindMounted: []string{"/foo"}},
			mountinfo: ordinary(on("259:1", "/var/lib/kubelet/pods", "ext4")), requested: "/foo/resnet", want: "files of the kubelet",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.rules.CheckMounted(tt.mountinfo, "/source", tt.requested)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestAgentDirs(t *testing.T) {
	const id = "0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c"
	tests := map[string]struct{ root, want string }{
		"containerd":                    {root: "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/" + id + "/resolv.conf", want: "/var/lib/containerd"},
		"containerd on a separate disk": {root: "/io.containerd.grpc.v1.cri/sandboxes/" + id + "/resolv.conf", want: "/"},
		"Docker":                        {root: "/var/lib/docker/containers/" + id + "/resolv.conf", want: "/var/lib/docker"},
		"CRI-O":                         {root: "/var/lib/containers/storage/overlay-containers/" + id + "/userdata/resolv.conf", want: "/var/lib/containers"},
		"a file of no known runtime":    {root: "/etc/resolv.conf"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			agents := agentDirs([]*mountinfo.Info{{Major: 8, Minor: 1, Root: tt.root, Mountpoint: "/etc/resolv.conf", FSType: "ext4"}})
			if tt.want == "" {
				assert.Empty(t, agents)
				return
			}
			require.NotEmpty(t, agents)
			assert.Equal(t, agentDir{agent: runtime, device: device{major: 8, minor: 1}, dir: tt.want}, agents[0])
		})
	}
}
