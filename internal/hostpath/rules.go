// Package hostpath decides which folders of a node may be packaged into an
// image: by the text of the path, which the operator checks before it starts a
// build, and by what the kernel says is mounted, which the build's first step
// checks inside the pod, so that a symbolic link on the node does not lead
// around the first check.
//
// Everything here is a pure function over strings.
package hostpath

import (
	"fmt"
	"path"
	"strings"
)

// system lists the folders of a node that are never packaged, with whatever is
// inside or above them: they hold secrets of the node or of other workloads,
// or nothing that could be a model.
var system = []string{
	"/bin",
	"/boot",
	"/dev",
	"/etc",
	"/lib",
	"/lib32",
	"/lib64",
	"/libx32",
	"/proc",
	"/root",
	"/run",
	"/sbin",
	"/snap",
	"/sys",
	"/usr",
	"/var/backups",
	"/var/lib/cloud",
	"/var/lib/cni",
	"/var/lib/containerd",
	"/var/lib/containers",
	"/var/lib/crio",
	"/var/lib/docker",
	"/var/lib/etcd",
	"/var/lib/k0s",
	"/var/lib/kubelet",
	"/var/lib/minikube",
	"/var/lib/rancher",
	"/var/log",
	"/var/run",
	"/var/snap",
	"/var/spool",
}

// Rules are what a platform team adds to the built-in deny-list. The zero
// value is the built-in deny-list alone.
type Rules struct {
	// Denied lists further folders that are never packaged, nor anything
	// inside or above them. Absolute paths.
	Denied []string
	// Allowed lists the folders that may be packaged, and whatever is inside
	// them. Empty allows everything that is not denied. Absolute paths.
	Allowed []string
	// BindMounted lists folders that are themselves bind mounts of folders
	// elsewhere, as the extraMounts of a kind node are. What is mounted from
	// inside them cannot be compared with what was asked for, so that whoever
	// may make symbolic links there decides what is packaged. Absolute paths.
	BindMounted []string
}

// Check says by its text whether a host path may be packaged. The error is a
// sentence for the person who wrote the path.
func (r Rules) Check(asked string) error {
	if !path.IsAbs(asked) || path.Clean(asked) != asked {
		return fmt.Errorf("%q is not an absolute path without '..', '.', '//' or a slash at its end: write it as /models/resnet/1", asked)
	}
	if denied := r.denied(asked); denied != "" {
		return fmt.Errorf("%s is never packaged, because it %s: put the model into a folder of its own, as in /models/resnet/1", asked, relation(asked, denied))
	}
	if len(r.Allowed) > 0 && !withinAny(asked, r.Allowed) {
		return fmt.Errorf("%s is not among the folders that may be packaged on this cluster (allowedHostPaths): put the model below %s", asked, strings.Join(r.Allowed, " or "))
	}
	return nil
}

// denied returns the denied folder that p is, is inside of or is above of, or
// "" when there is none.
func (r Rules) denied(p string) string {
	for _, list := range [][]string{system, r.Denied} {
		for _, folder := range list {
			if Within(p, folder) || Within(folder, p) {
				return folder
			}
		}
	}
	return ""
}

// relation says in words how p relates to a denied folder.
func relation(p, denied string) string {
	if p == denied {
		return "belongs to the node's system or is denied on this cluster (deniedHostPaths)"
	}
	if Within(p, denied) {
		return "is inside " + denied
	}
	return "holds " + denied
}

// Within says whether p is folder or inside it. Both are absolute and clean.
func Within(p, folder string) bool {
	return p == folder || folder == "/" || strings.HasPrefix(p, folder+"/")
}

func withinAny(p string, folders []string) bool {
	for _, folder := range folders {
		if Within(p, folder) {
			return true
		}
	}
	return false
}
