package inject

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

const (
	// verifyFiles is the only value of v1alpha1.LabelVerify.
	verifyFiles = "files"
	// filesContainer is the name of the init container that verifies the files, and
	// listVolume that of the volume with their list, where an init container copies the
	// model.
	filesContainer = "served-model-files"
	listVolume     = "served-model-list"
	// listDir is where both containers mount the list.
	listDir = "/served-list"
)

// copyList follows the command that copies the model where the list of its files is
// copied too.
var copyList = " && cp -f /" + layer.ManifestFile + " " + listDir + "/"

// FilesCheck is how the files of a model are verified.
type FilesCheck struct {
	// Image is an image with modelkiln-step, Command its path there, and PullSecrets are
	// the Secrets by which it is pulled.
	Image       string
	Command     []string
	PullSecrets []string
	// ListDigest is the digest of the list of files in the model's image.
	ListDigest string
}

// VerifiesFiles reports whether a pod demands that the files of its model are verified.
func VerifiesFiles(pod *corev1.Pod) (bool, *workflow.Problem) {
	if _, found := pod.Annotations[v1alpha1.LabelVerify]; found {
		return false, invalid("the pod has an annotation %s: make it a label", v1alpha1.LabelVerify)
	}
	value, found := pod.Labels[v1alpha1.LabelVerify]
	if found && value != verifyFiles {
		return false, invalid("the pod's label %s is %q: set it to %q, or remove it", v1alpha1.LabelVerify, value, verifyFiles)
	}
	return found, nil
}

// VerifyFiles adds the container to a pod that verifies the files of its model before
// anything else reads them. Serving has given the pod the model. What was added to the pod
// before, as to one whose manifest was copied from a running one, is removed, and nothing is
// added if check is nil.
func VerifyFiles(pod *corev1.Pod, mv *v1alpha1.ModelVersion, mode ServingMount, check *FilesCheck) *workflow.Problem {
	spec := &pod.Spec
	removeFilesCheck(spec)
	if check == nil {
		return nil
	}
	if slices.ContainsFunc(containersOf(spec), func(c *corev1.Container) bool { return c.Name == filesContainer }) {
		return invalid("the pod already has a container with the name %s, which is reserved for the one that verifies the model: rename the pod's container", filesContainer)
	}
	position := 0
	list := corev1.VolumeMount{Name: servedModel, MountPath: listDir, SubPath: layer.ManifestDir, ReadOnly: true}
	if mode == ServingInitContainer {
		position = slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return isCopyContainer(&c) }) + 1
		list = corev1.VolumeMount{Name: listVolume, MountPath: listDir, ReadOnly: true}
		if problem := copyListToo(spec, &spec.InitContainers[position-1]); problem != nil {
			return problem
		}
	}
	_, model := servedVolume("", workflow.ModelPath(mv), copyDir, mode)
	spec.InitContainers = slices.Insert(spec.InitContainers, position, check.container(spec, model, list))
	for _, name := range check.PullSecrets {
		if secret := (corev1.LocalObjectReference{Name: name}); !slices.Contains(spec.ImagePullSecrets, secret) {
			spec.ImagePullSecrets = append(spec.ImagePullSecrets, secret)
		}
	}
	return nil
}

// copyListToo has the container that copies the model copy the list of its files to a
// volume of its own, where those that serve the model do not find it.
func copyListToo(spec *corev1.PodSpec, c *corev1.Container) *workflow.Problem {
	volume := corev1.Volume{Name: listVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	if problem := addVolume(spec, volume, "the list of the model's files"); problem != nil {
		return problem
	}
	c.Command[len(c.Command)-1] += copyList
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: listVolume, MountPath: listDir})
	return nil
}

// removeFilesCheck removes what VerifyFiles adds, except for the Secrets.
func removeFilesCheck(spec *corev1.PodSpec) {
	before := len(spec.InitContainers)
	spec.InitContainers = slices.DeleteFunc(spec.InitContainers, func(c corev1.Container) bool { return isFilesContainer(&c) })
	isRemoved := len(spec.InitContainers) < before
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if !isCopyContainer(c) || !strings.HasSuffix(c.Command[len(c.Command)-1], copyList) {
			continue
		}
		script := &c.Command[len(c.Command)-1]
		*script = strings.TrimSuffix(*script, copyList)
		c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == listVolume })
		isRemoved = true
	}
	if isRemoved {
		spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == listVolume })
	}
}

// isFilesContainer reports whether a container is one that VerifyFiles has added, for any
// model.
func isFilesContainer(c *corev1.Container) bool {
	return c.Name == filesContainer && len(c.Args) > 0 && c.Args[0] == contract.VerifyFilesCommand
}

// container returns the container that verifies the files.
func (f FilesCheck) container(pod *corev1.PodSpec, model, list corev1.VolumeMount) corev1.Container {
	return corev1.Container{
		Name:                     filesContainer,
		Image:                    f.Image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Command:                  f.Command,
		Args:                     contract.VerifyFilesArguments(model.MountPath, path.Join(listDir, path.Base(layer.ManifestFile)), f.ListDigest),
		Resources:                filesResources(pod),
		VolumeMounts:             []corev1.VolumeMount{model, list},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          unprivileged(pod),
	}
}

// filesResources returns the resources of the container that verifies the files. It gets
// the processors of the pod's first container, which waits for it, and as much memory if
// that is more than it needs: a LimitRange can demand a minimum of every container. That
// adds nothing to the requests of the pod, and a pod of the QoS class Guaranteed stays one.
func filesResources(pod *corev1.PodSpec) corev1.ResourceRequirements {
	// Half of it for the list of 200,000 files.
	memory := resource.MustParse("256Mi")
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: memory}
	limits := corev1.ResourceList{corev1.ResourceMemory: memory}
	for _, first := range pod.Containers[:min(len(pod.Containers), 1)] {
		if cpu, found := first.Resources.Requests[corev1.ResourceCPU]; found {
			requests[corev1.ResourceCPU] = cpu
		}
		if cpu, found := first.Resources.Limits[corev1.ResourceCPU]; found {
			limits[corev1.ResourceCPU] = cpu
		}
		if more := first.Resources.Requests[corev1.ResourceMemory]; more.Cmp(memory) > 0 {
			requests[corev1.ResourceMemory], limits[corev1.ResourceMemory] = more, more
		}
		if more := first.Resources.Limits[corev1.ResourceMemory]; more.Cmp(limits[corev1.ResourceMemory]) > 0 {
			limits[corev1.ResourceMemory] = more
		}
	}
	return corev1.ResourceRequirements{Requests: requests, Limits: limits}
}
