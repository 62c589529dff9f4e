package sourcepolicy

import (
	"fmt"
	"path"
	"strings"
)

// systemDirs lists the directories of a node that are never packaged, and
// neither is anything inside or above them: they hold secrets of the node or of
// other workloads, such as the volumes of Longhorn, OpenEBS, Rook, and Rancher's
// local-path-provisioner by their defaults, or nothing that could be a model.
var systemDirs = []string{
	"/bin",
	"/boot",
	"/dev",
	"/etc",
	"/lib",
	"/lib32",
	"/lib64",
	"/libx32",
	"/opt/local-path-provisioner",
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
	"/var/lib/longhorn",
	"/var/lib/minikube",
	"/var/lib/rancher",
	"/var/lib/rook",
	"/var/local-path-provisioner",
	"/var/log",
	"/var/openebs",
	"/var/run",
	"/var/snap",
	"/var/spool",
}

// HostPathRules are what a platform team adds to the built-in deny-list. The
// zero value is the built-in deny-list alone.
type HostPathRules struct {
	// Denied lists further directories that are never packaged; neither is
	// anything inside or above them. Absolute paths.
	Denied []string
	// Allowed lists the directories that may be packaged, with everything inside
	// them. If empty, everything that is not denied is allowed. Absolute paths.
	Allowed []string
	// BindMounted lists directories that are bind mounts of other directories, as
	// the extraMounts of a kind node are. A mount from inside them cannot be
	// compared with the requested path, so anyone who can create symbolic links
	// there decides what is packaged. Absolute paths.
	BindMounted []string
}

// Check returns an error if a host path may not be packaged, judging by its text
// alone. The error is a message for the user who wrote the path.
func (r HostPathRules) Check(requested string) error {
	if !path.IsAbs(requested) || path.Clean(requested) != requested {
		return fmt.Errorf("%q is not an absolute path without '..', '.', '//' or a trailing slash: write it as /models/resnet/1", requested)
	}
	if denied := r.deniedBy(requested); denied != "" {
		return fmt.Errorf("%s cannot be packaged because it %s: move the model to its own directory, such as /models/resnet/1", requested, relation(requested, denied))
	}
	if len(r.Allowed) > 0 && !isWithinAny(requested, r.Allowed) {
		return fmt.Errorf("%s is not in a directory that this cluster allows (allowedHostPaths): move the model below %s", requested, strings.Join(r.Allowed, " or "))
	}
	return nil
}

// deniedBy returns the denied directory that p is, is inside of or contains, or
// "" if there is none.
func (r HostPathRules) deniedBy(p string) string {
	for _, list := range [][]string{systemDirs, r.Denied} {
		for _, dir := range list {
			if isWithin(p, dir) || isWithin(dir, p) {
				return dir
			}
		}
	}
	return ""
}

// relation returns how p relates to a denied directory, as the predicate of a
// sentence.
func relation(p, denied string) string {
	if p == denied {
		return "is a system directory of the node or denied on this cluster (deniedHostPaths)"
	}
	if isWithin(p, denied) {
		return "is inside " + denied
	}
	return "contains " + denied
}
