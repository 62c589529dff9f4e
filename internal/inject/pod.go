// Package inject gives pods the files of a ModelVersion: its storage, writable,
// to pods that train it (training.go), and its model, read-only, to pods that
// serve it (serving.go). It is pure: no client, no logger, no clock, no context.
package inject

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// containersOf returns a pod's containers, the init containers first.
func containersOf(spec *corev1.PodSpec) []*corev1.Container {
	var all []*corev1.Container
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			all = append(all, &containers[i])
		}
	}
	return all
}

// mountIntoAll mounts a volume in containers and sets the environment variable
// that names the directory. It does not replace what a container already mounts
// there, nor the variable of a container that sets it. It reports whether any
// container has the volume afterwards.
func mountIntoAll(containers []*corev1.Container, mount corev1.VolumeMount) (mounted bool) {
	for _, c := range containers {
		setModelPath(c, mount.MountPath)
		mounted = mountInto(c, mount) || mounted
	}
	return mounted
}

// addVolume adds a volume to a pod, unless the pod has it already. Another
// volume of the pod may not have its name; content describes in the message what the
// volume holds.
func addVolume(spec *corev1.PodSpec, volume corev1.Volume, content string) *workflow.Problem {
	i := indexOfVolume(spec, volume.Name)
	if i < 0 {
		spec.Volumes = append(spec.Volumes, volume)
		return nil
	}
	if !equality.Semantic.DeepEqual(spec.Volumes[i], volume) {
		return invalid("the pod already has a volume with the name %s, which is reserved for %s: rename the pod's volume", volume.Name, content)
	}
	return nil
}

func indexOfVolume(spec *corev1.PodSpec, name string) int {
	return slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
}

// setModelPath sets the variable that names the directory with the model, unless
// the container sets it. The variable goes first, so that the container's own
// variables can refer to it.
func setModelPath(c *corev1.Container, mountPath string) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v1alpha1.ModelPathEnv }) {
		return
	}
	c.Env = slices.Insert(c.Env, 0, corev1.EnvVar{Name: v1alpha1.ModelPathEnv, Value: mountPath})
}

// mountInto mounts a volume in a container, unless something is mounted there
// already, and reports whether that volume is mounted there afterwards.
func mountInto(c *corev1.Container, mount corev1.VolumeMount) bool {
	i := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return path.Clean(m.MountPath) == path.Clean(mount.MountPath)
	})
	if i < 0 {
		c.VolumeMounts = append(c.VolumeMounts, mount)
		return true
	}
	return c.VolumeMounts[i].Name == mount.Name
}

func invalid(format string, args ...any) *workflow.Problem {
	return &workflow.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: fmt.Sprintf(format, args...)}
}
