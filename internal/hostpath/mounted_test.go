package hostpath

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pod returns the mount table of a pod's container as containerd makes it,
// with the kubelet's and the runtime's folders at the given roots of a
// filesystem, and with the given lines for /source.
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

// ordinary is a node with one disk.
func ordinary(source ...string) string {
	return pod("259:1", "/var/lib/kubelet", "/var/lib/containerd", source...)
}

// kubeletDisk is a node whose kubelet's folder is a disk of its own.
func kubeletDisk(source ...string) string {
	return pod("259:7", "", "/containerd", source...)
}

func on(device, root, fsType string) string {
	return fmt.Sprintf(`640 612 %s %s /source ro,relatime - %s /dev/x rw`, device, root, fsType)
}

func TestCheckMounted(t *testing.T) {
	tests := map[string]struct {
		rules     Rules
		mountinfo string
		asked     string
		want      string // part of the error; empty: allowed
	}{
		"a folder of the node's only disk is what was asked for": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4")), asked: "/foo",
		},
		"a folder below it, too": {
			mountinfo: ordinary(on("259:1", "/var/lib/models/resnet", "xfs")), asked: "/var/lib/models/resnet",
		},
		"a path with a space, a tab and a backslash is compared decoded": {
			mountinfo: ordinary(on("259:1", `/foo/my\040models/a\011b\134c`, "ext4")), asked: "/foo/my models/a\tb\\c",
		},
		"a folder of a data disk that is mounted at a parent": {
			mountinfo: ordinary(on("8:16", "/models/resnet", "ext4")), asked: "/mnt/data/models/resnet",
		},
		"a data disk itself": {
			mountinfo: ordinary(on("8:16", "/", "xfs")), asked: "/mnt/data",
		},
		"a folder of an NFS mount": {
			mountinfo: ordinary(on("0:61", "/resnet", "nfs4")), asked: "/mnt/nfs/resnet",
		},
		"a folder of a kind node, which is an overlay": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("0:45", "/foo", "overlay")),
			asked:     "/foo",
		},
		"a folder below /var of a kind node, which is a volume": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("259:1", "/var/lib/docker/volumes/1f/_data/lib/models", "ext4")),
			asked:     "/var/lib/models",
		},
		"a folder of a btrfs subvolume": {
			mountinfo: pod("0:32", "/root/var/lib/kubelet", "/root/var/lib/containerd", on("0:32", "/root/foo", "btrfs")),
			asked:     "/foo",
		},
		"a folder of an ostree deployment": {
			mountinfo: pod("8:4", "/ostree/deploy/fcos/var/lib/kubelet", "/ostree/deploy/fcos/var/lib/containers", on("8:4", "/ostree/deploy/fcos/var/lib/models", "xfs")),
			asked:     "/var/lib/models",
		},
		"a folder of a disk that is mounted at /var": {
			mountinfo: pod("8:4", "/lib/kubelet", "/lib/containerd", on("8:4", "/mnt/models", "xfs")),
			asked:     "/var/mnt/models",
		},
		"a kubelet elsewhere on the root disk": {
			mountinfo: pod("8:1", "/var/snap/microk8s/common/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/containerd", on("8:1", "/foo", "ext4")),
			asked:     "/foo",
		},
		"a pod whose mounts give nothing away": {
			mountinfo: on("259:1", "/foo", "ext4"), asked: "/foo",
		},
		"the last mount at the place counts": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), on("259:1", "/bar", "ext4")), asked: "/foo", want: "leads to /bar",
		},
		"nothing is mounted": {
			mountinfo: ordinary(), asked: "/foo", want: "nothing is mounted at /source",
		},
		"a mount table that cannot be read": {
			mountinfo: ordinary("640 612 259:1 /foo"), asked: "/foo", want: "unknown form",
		},
		"a denied path is refused by its text already": {
			mountinfo: ordinary(on("259:1", "/etc", "ext4")), asked: "/etc", want: "belongs to the node's system",
		},
		"a path outside the allowed folders is refused by its text already": {
			rules: Rules{Allowed: []string{"/mnt"}}, mountinfo: ordinary(on("259:1", "/foo", "ext4")), asked: "/foo", want: "below /mnt",
		},
		"a folder that was deleted meanwhile": {
			mountinfo: ordinary(on("259:1", "/foo//deleted", "ext4")), asked: "/foo", want: "not a folder any more",
		},

		// Attacks with a symbolic link on the node.
		"/foo/etc -> /etc": {
			mountinfo: ordinary(on("259:1", "/etc", "ext4")), asked: "/foo/etc", want: "leads to /etc",
		},
		"/foo/etc -> /etc, the kubelet on a disk of its own": {
			mountinfo: kubeletDisk(on("259:1", "/etc", "ext4")), asked: "/foo/etc", want: "cannot be told from the node's own /etc",
		},
		"/foo/etc -> /etc on a kind node": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("0:45", "/etc", "overlay")),
			asked:     "/foo/etc", want: "cannot be told from the node's own /etc",
		},
		"/foo/x -> /etc": {
			mountinfo: ordinary(on("259:1", "/etc", "ext4")), asked: "/foo/x", want: "leads to /etc",
		},
		"/foo/kubernetes -> /etc/kubernetes": {
			mountinfo: ordinary(on("259:1", "/etc/kubernetes", "ext4")), asked: "/foo/kubernetes", want: "leads to /etc/kubernetes",
		},
		"/foo/etc/kubernetes, where /foo/etc -> /etc, the kubelet on a disk of its own": {
			mountinfo: kubeletDisk(on("259:1", "/etc/kubernetes", "ext4")), asked: "/foo/etc/kubernetes", want: "cannot be told from the node's own /etc",
		},
		"/foo/secrets -> /run/secrets": {
			mountinfo: ordinary(on("0:25", "/secrets", "tmpfs")), asked: "/foo/secrets", want: "type tmpfs",
		},
		"/foo/self -> /proc/self": {
			mountinfo: ordinary(on("0:22", "/self", "proc")), asked: "/foo/self", want: "type proc",
		},
		"/foo/pods -> /var/lib/kubelet/pods": {
			mountinfo: ordinary(on("259:1", "/var/lib/kubelet/pods", "ext4")), asked: "/foo/pods", want: "files of the kubelet",
		},
		"/foo/pods -> /var/lib/kubelet/pods on a disk of its own": {
			mountinfo: kubeletDisk(on("259:7", "/pods", "ext4")), asked: "/foo/pods", want: "files of the kubelet",
		},
		"/foo/kubelet -> /var/lib/kubelet, a disk of its own": {
			mountinfo: kubeletDisk(on("259:7", "/", "ext4")), asked: "/foo/kubelet", want: "files of the kubelet",
		},
		"/foo/data -> /data, which holds the kubelet's folder": {
			mountinfo: pod("8:32", "/agents/kubelet", "/agents/containerd", on("8:32", "/agents", "ext4")),
			asked:     "/foo/agents", want: "files of the kubelet",
		},
		"/foo/lib/kubelet -> the kubelet's folder of a kind node": {
			mountinfo: pod("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "/var/lib/docker/volumes/1f/_data/lib/containerd", on("259:1", "/var/lib/docker/volumes/1f/_data/lib/kubelet", "ext4")),
			asked:     "/foo/lib/kubelet", want: "files of the kubelet",
		},
		"/foo/containerd -> the runtime's disk": {
			mountinfo: pod("259:7", "/kubelet", "/containerd", on("259:7", "/containerd/io.containerd.content.v1.content", "ext4")),
			asked:     "/foo/containerd/io.containerd.content.v1.content", want: "files of the container runtime",
		},
		"/foo/all -> /": {
			mountinfo: ordinary(on("259:1", "/", "ext4")), asked: "/foo/all", want: "files of the kubelet",
		},
		"/foo/bar/models -> /bar/models, another team's": {
			rules:     Rules{Allowed: []string{"/foo"}},
			mountinfo: ordinary(on("259:1", "/bar/models", "ext4")), asked: "/foo/bar/models", want: "leads to /bar/models",
		},
		"/mnt -> /var/mnt, where /var is a disk of its own": {
			mountinfo: pod("8:4", "/lib/kubelet", "/lib/containerd", on("8:4", "/mnt/models", "xfs")),
			asked:     "/mnt/models", want: "leads to /var/mnt/models",
		},
		"/secret -> /var/secret, which is denied, where /var is a disk of its own": {
			rules:     Rules{Denied: []string{"/var/secret"}},
			mountinfo: pod("8:4", "/lib/kubelet", "/lib/containerd", on("8:4", "/secret", "xfs")),
			asked:     "/secret", want: "leads to /var/secret",
		},
		// These cannot be told from what is allowed: see CheckMounted.
		"/foo/data -> /mnt/secret, another disk itself": {
			mountinfo: ordinary(on("8:16", "/", "xfs")), asked: "/foo/data",
		},
		"/foo/data -> /mnt/secret/data, a folder of another disk that ends alike": {
			mountinfo: ordinary(on("8:16", "/data", "xfs")), asked: "/foo/data",
		},
		"/foo/models -> /bar/models": {
			mountinfo: ordinary(on("259:1", "/bar/models", "ext4")), asked: "/foo/models", want: "leads to /bar/models",
		},
		"a name that only ends alike is no match": {
			mountinfo: ordinary(on("8:16", "/s", "ext4")), asked: "/mnt/models", want: "leads to /s",
		},
		"what the cluster denies is denied behind a link too": {
			rules:     Rules{Denied: []string{"/secret"}},
			mountinfo: kubeletDisk(on("259:1", "/secret", "ext4")), asked: "/foo/secret", want: "cannot be told from the node's own /secret",
		},
		"the kernel's state mounted somewhere below": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), `641 640 0:22 / /source/chroot/proc ro - proc proc rw`), asked: "/foo", want: "type proc",
		},
		"a disk mounted somewhere below": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), `641 640 8:16 / /source/more ro - xfs /dev/sdb rw`), asked: "/foo",
		},
		"a mount beside the place does not matter": {
			mountinfo: ordinary(on("259:1", "/foo", "ext4"), `641 640 0:22 / /source-of-all ro - proc proc rw`), asked: "/foo",
		},

		// Bind mounts that the platform team has named.
		"a folder that is a bind mount is refused unless it is named": {
			mountinfo: ordinary(on("259:1", "/home/ann/models", "ext4")), asked: "/foo", want: "leads to /home/ann/models",
		},
		"a named bind mount is allowed": {
			rules:     Rules{BindMounted: []string{"/foo"}},
			mountinfo: ordinary(on("259:1", "/home/ann/models/resnet", "ext4")), asked: "/foo/resnet",
		},
		"a named bind mount never shows the kubelet's files": {
			rules:     Rules{BindMounted: []string{"/foo"}},
			mountinfo: ordinary(on("259:1", "/var/lib/kubelet/pods", "ext4")), asked: "/foo/resnet", want: "files of the kubelet",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.rules.CheckMounted(tt.mountinfo, "/source", tt.asked)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestTheRuntimesFolderIsKnownForEachRuntime(t *testing.T) {
	const id = "0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c0f2c"
	tests := map[string]struct{ root, want string }{
		"containerd":              {root: "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/" + id + "/resolv.conf", want: "/var/lib/containerd"},
		"containerd's own disk":   {root: "/io.containerd.grpc.v1.cri/sandboxes/" + id + "/resolv.conf", want: "/"},
		"Docker":                  {root: "/var/lib/docker/containers/" + id + "/resolv.conf", want: "/var/lib/docker"},
		"CRI-O":                   {root: "/var/lib/containers/storage/overlay-containers/" + id + "/userdata/resolv.conf", want: "/var/lib/containers"},
		"a file of somebody else": {root: "/etc/resolv.conf"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			agents := agentFolders([]mount{{device: "8:1", root: tt.root, point: "/etc/resolv.conf", fsType: "ext4"}})
			if tt.want == "" {
				assert.Empty(t, agents)
				return
			}
			require.NotEmpty(t, agents)
			assert.Equal(t, agentFolder{agent: runtime, device: "8:1", folder: tt.want}, agents[0])
		})
	}
}
