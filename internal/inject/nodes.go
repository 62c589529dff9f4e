package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/modelkiln/modelkiln/internal/text"
)

// The releases from which image volumes with a subPath work. Runtimes before them
// ignore the subPath, or mount an empty directory, and report no error.
var (
	// The feature gate ImageVolume is enabled by default since Kubernetes 1.35:
	// https://kubernetes.io/docs/concepts/storage/volumes/#image
	firstKubelet = version.MustParseGeneric("1.35")
	// https://github.com/containerd/containerd/pull/11578,
	// https://github.com/kubernetes/website/pull/56606
	firstContainerd = version.MustParseGeneric("2.2")
	// containerd 2.2.3-k3s1 mounts an empty directory:
	// https://github.com/k3s-io/k3s/issues/14323
	firstContainerdOfK3s = version.MustParseGeneric("2.3")
	// https://github.com/cri-o/cri-o/pull/9050
	firstCRIO = version.MustParseGeneric("1.33")
)

// maxVersion is the number of characters of a version that a node reports which a
// message repeats.
const maxVersion = 100

// LacksImageVolumes returns which of the nodes that a pod may be scheduled to does not
// mount images with a subPath, and why, or an empty string if all of them do, or if
// there are none. Nodes do not count that are cordoned, that run another system than
// Linux, for which model images are built, or that have a taint which the pod does not
// tolerate. Taints of Kubernetes itself, such as not-ready, are temporary.
func LacksImageVolumes(nodes []corev1.Node, pod *corev1.Pod) string {
	for i := range nodes {
		node := &nodes[i]
		if !mayRunOn(node, pod) {
			continue
		}
		info := node.Status.NodeInfo
		switch {
		case !isAtLeast(info.KubeletVersion, firstKubelet):
			return fmt.Sprintf("node %s runs kubelet %s, and image volumes need %s", node.Name, reported(info.KubeletVersion), firstKubelet)
		case !mountsSubPaths(info.ContainerRuntimeVersion):
			return fmt.Sprintf("node %s runs %s, and image volumes with a subPath need containerd %s (of k3s and RKE2 %s) or CRI-O %s", node.Name, reported(info.ContainerRuntimeVersion), firstContainerd, firstContainerdOfK3s, firstCRIO)
		}
	}
	return ""
}

func mayRunOn(node *corev1.Node, pod *corev1.Pod) bool {
	if node.Spec.Unschedulable {
		return false
	}
	if os := node.Status.NodeInfo.OperatingSystem; os != "" && os != string(corev1.Linux) {
		return false
	}
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return repels(taint, pod) })
}

// repels reports whether a taint keeps a pod from a node.
func repels(taint corev1.Taint, pod *corev1.Pod) bool {
	if taint.Effect == corev1.TaintEffectPreferNoSchedule || strings.HasPrefix(taint.Key, "node.kubernetes.io/") {
		return false
	}
	return !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		sameEffect := t.Effect == "" || t.Effect == taint.Effect
		sameKey := t.Key == "" || t.Key == taint.Key
		// The numeric operators count as tolerating: then the node counts.
		sameValue := t.Operator != "" && t.Operator != corev1.TolerationOpEqual || t.Value == taint.Value
		return sameEffect && sameKey && sameValue
	})
}

// mountsSubPaths reports whether a container runtime, which kubelet reports as
// NAME://VERSION, mounts images with a subPath.
func mountsSubPaths(runtime string) bool {
	name, release, _ := strings.Cut(runtime, "://")
	switch {
	case name == "containerd" && strings.Contains(release, "-k3s"):
		return isAtLeast(release, firstContainerdOfK3s)
	case name == "containerd":
		return isAtLeast(release, firstContainerd)
	case name == "cri-o":
		return isAtLeast(release, firstCRIO)
	default:
		return false
	}
}

// isAtLeast compares a version that a node reports, whose suffix names a vendor. One
// that cannot be read counts as old.
func isAtLeast(reported string, first *version.Version) bool {
	v, err := version.ParseGeneric(reported)
	return err == nil && v.AtLeast(first)
}

// reported returns a version as a message repeats it.
func reported(release string) string {
	if release == "" {
		return "an unknown version"
	}
	return text.OneLine(release, maxVersion)
}
