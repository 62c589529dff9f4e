package translate

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// containersOf are a pod's containers, the init containers first.
func containersOf(spec *corev1.PodSpec) []*corev1.Container {
	var all []*corev1.Container
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			all = append(all, &containers[i])
		}
	}
	return all
}

// mountIntoAll mounts a volume in containers, with the environment variable that
// says where. What a container mounts there already, and what it sets that
// variable to, is left alone. It says whether any container has the volume then.
func mountIntoAll(containers []*corev1.Container, mount corev1.VolumeMount) (mounted bool) {
	for _, c := range containers {
		setModelPath(c, mount.MountPath)
		mounted = mountInto(c, mount) || mounted
	}
	return mounted
}

// addVolume gives a pod a volume, unless it has that already. A volume of the
// pod's own may not have its name; whose says in words what needs the name.
func addVolume(spec *corev1.PodSpec, volume corev1.Volume, whose string) *Problem {
	there := indexOfVolume(spec, volume.Name)
	if there < 0 {
		spec.Volumes = append(spec.Volumes, volume)
		return nil
	}
	if !equality.Semantic.DeepEqual(spec.Volumes[there], volume) {
		return &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("the pod has a volume of its own with the name %s, which %s gets: give the pod's volume another name", volume.Name, whose)}
	}
	return nil
}

func indexOfVolume(spec *corev1.PodSpec, name string) int {
	return slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
}

// setModelPath sets the variable that names the folder with the model, unless
// the container does. It goes first, so that the container's own variables can
// refer to it.
func setModelPath(c *corev1.Container, mountPath string) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v1alpha1.ModelPathEnv }) {
		return
	}
	c.Env = slices.Insert(c.Env, 0, corev1.EnvVar{Name: v1alpha1.ModelPathEnv, Value: mountPath})
}

// mountInto mounts a volume in a container, unless something is mounted there,
// and says whether it is that volume that is there then.
func mountInto(c *corev1.Container, mount corev1.VolumeMount) bool {
	there := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return path.Clean(m.MountPath) == path.Clean(mount.MountPath)
	})
	if there < 0 {
		c.VolumeMounts = append(c.VolumeMounts, mount)
		return true
	}
	return c.VolumeMounts[there].Name == mount.Name
}
