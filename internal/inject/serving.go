package inject

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A ServingMount is how pods get the model that they serve.
type ServingMount string

const (
	// ServingAuto selects the mount that the API server's version supports.
	ServingAuto ServingMount = "Auto"
	// ServingImageVolume mounts the image itself.
	ServingImageVolume ServingMount = "ImageVolume"
	// ServingInitContainer copies the files with the image's own shell, as KubeDL
	// Serving does.
	ServingInitContainer ServingMount = "InitContainer"
)

// ServingMountFor returns the mount that an API server supports: image volumes are
// enabled by default since Kubernetes 1.35. A server that emulates an older
// version, as during an upgrade, counts as that version.
func ServingMountFor(server version.Info) ServingMount {
	major := versionNumber(cmp.Or(server.EmulationMajor, server.Major))
	minor := versionNumber(cmp.Or(server.EmulationMinor, server.Minor))
	if major > 1 || (major == 1 && minor >= 35) {
		return ServingImageVolume
	}
	return ServingInitContainer
}

// versionNumber parses one number of a version. Some vendors append a plus, as in
// 35+.
func versionNumber(text string) int {
	n, err := strconv.Atoi(strings.TrimRight(text, "+"))
	if err != nil {
		return 0
	}
	return n
}

const (
	// servedModel is the name of the volume with the model, and of the init
	// container that fills it.
	servedModel = "served-model"
	// copyDir is where that container mounts the volume.
	copyDir = "/served-model"
	// injectedUser is the user ID of containers that are added to pods that set none.
	// Any user can read the model, so it need not be root. LeaveUser removes it.
	injectedUser = 65532
)

// Serving returns a pod with the model of a ModelVersion's image mounted in every
// container, init containers too, read-only, and with the environment variable
// that names the directory. It does not replace what a container already mounts
// there, nor the variable of a container that sets it. The image is pinned by its
// digest, pulled with the ModelVersion's Secret, and named in the pod's
// annotations and label, whatever their values were. A pod that has all of this already is
// returned as it is.
//
// The Problem, where there is one, is why the pod cannot have the model; the pod
// is then returned unchanged. The mode is not ServingAuto.
func Serving(pod *corev1.Pod, mv *v1alpha1.ModelVersion, mode ServingMount) (*corev1.Pod, *workflow.Problem) {
	if problem := servingProblem(mv); problem != nil {
		return pod, problem
	}
	dir, problem := mountPath(pod)
	if problem != nil {
		return pod, problem
	}
	image := workflow.Pinned(mv.Status.Image, mv.Status.Digest)
	modelDir := workflow.ModelPath(mv)
	volume, mount := servedVolume(image, modelDir, dir, mode)
	served := pod.DeepCopy()
	removeInjected(served, image, mode)
	containers := slices.DeleteFunc(containersOf(&served.Spec), isInjected)
	if !mountIntoAll(containers, mount) {
		return pod, invalid("every container of the pod already mounts something at %s: set the annotation %s to another directory", dir, v1alpha1.AnnotationMountPath)
	}
	if problem := addVolume(&served.Spec, volume, "the model"); problem != nil {
		return pod, problem
	}
	if mode == ServingInitContainer {
		if problem := addCopyContainer(&served.Spec, image, modelDir); problem != nil {
			return pod, problem
		}
	}
	addPullSecret(&served.Spec, mv)
	metav1.SetMetaDataAnnotation(&served.ObjectMeta, v1alpha1.AnnotationServedVersion, mv.Name)
	metav1.SetMetaDataAnnotation(&served.ObjectMeta, v1alpha1.AnnotationServedImage, image)
	metav1.SetMetaDataLabel(&served.ObjectMeta, v1alpha1.LabelServedVersionUID, string(mv.UID))
	return served, nil
}

// ServedImage returns the image whose model a pod has, by its volumes and containers and
// not by its annotations: as it was mounted or copied by Serving; "" if it has none.
func ServedImage(pod *corev1.Pod) string {
	i := indexOfVolume(&pod.Spec, servedModel)
	if i < 0 {
		return ""
	}
	if volume := pod.Spec.Volumes[i]; volume.Image != nil {
		return volume.Image.Reference
	}
	for j := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[j]; isCopyContainer(c) {
			return c.Image
		}
	}
	return ""
}

// CreatedWhenReady describes when a pod that was rejected is created after all.
const CreatedWhenReady = "Pods of a Deployment, StatefulSet, DaemonSet or Job are created automatically once the ModelVersion is Ready; recreate a standalone pod yourself"

// servingProblem returns why a ModelVersion cannot be served, or nil.
func servingProblem(mv *v1alpha1.ModelVersion) *workflow.Problem {
	reason, message := lifecycle.ReadyReason(mv), mv.Status.Message
	switch {
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded && mv.Status.Digest != "":
		return nil
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded:
		return &workflow.Problem{Reason: reason, Message: "KubeDL built it and did not record the digest of its image: create a new ModelVersion, or name the image in the pod: " + mv.Status.Image}
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed && reason == "":
		return &workflow.Problem{Reason: reason, Message: "its build failed under KubeDL and is not retried: name another ModelVersion"}
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed:
		return &workflow.Problem{Reason: reason, Message: fmt.Sprintf("its build failed (%s): %s. %s", reason, message, CreatedWhenReady)}
	case reason == "":
		return &workflow.Problem{Reason: reason, Message: "its build has not started. " + CreatedWhenReady}
	default:
		return &workflow.Problem{Reason: reason, Message: fmt.Sprintf("it is not built yet (%s): %s. %s", reason, message, CreatedWhenReady)}
	}
}

var mountPathPattern = regexp.MustCompile(`\A(/[A-Za-z0-9._-]+)+\z`)

// mountPath returns the directory where a pod wants its model.
func mountPath(pod *corev1.Pod) (string, *workflow.Problem) {
	dir, found := pod.Annotations[v1alpha1.AnnotationMountPath]
	if !found {
		return v1alpha1.ModelPath, nil
	}
	if !mountPathPattern.MatchString(dir) || path.Clean(dir) != dir {
		return "", invalid("the pod's annotation %s is %q: set it to an absolute path of letters, digits, '.', '_' and '-' without '..', for example /mnt/models", v1alpha1.AnnotationMountPath, dir)
	}
	return dir, nil
}

// servedVolume returns the volume with an image's model, which is in the image's
// directory modelDir, and its mount at dir. No runtime has to follow a link.
func servedVolume(image, modelDir, dir string, mode ServingMount) (corev1.Volume, corev1.VolumeMount) {
	volume := corev1.Volume{Name: servedModel}
	mount := corev1.VolumeMount{Name: servedModel, MountPath: dir, ReadOnly: true}
	if mode == ServingImageVolume {
		volume.Image = &corev1.ImageVolumeSource{Reference: image, PullPolicy: corev1.PullIfNotPresent}
		mount.SubPath = strings.TrimPrefix(modelDir, "/")
	} else {
		volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	return volume, mount
}

// copyCommand returns the command that copies the model from its directory in the image.
// It overwrites existing files: kubelet may run an init container twice.
func copyCommand(modelDir string) []string {
	return []string{"/bin/sh", "-c", "cp -rf " + modelDir + "/. " + copyDir + "/"}
}

// copyMemory is the memory of the container that copies the model.
var copyMemory = resource.MustParse("128Mi")

// copyContainer returns the container that copies the model.
func copyContainer(image, modelDir string, pod *corev1.PodSpec) corev1.Container {
	return corev1.Container{
		Name:                     servedModel,
		Image:                    image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Command:                  copyCommand(modelDir),
		Resources:                addedResources(pod, copyMemory),
		VolumeMounts:             []corev1.VolumeMount{{Name: servedModel, MountPath: copyDir}},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          unprivileged(pod),
	}
}

// addedResources returns the resources of an init container that is added to a pod and
// needs this much memory. It gets the processors of the pod's first container, which waits
// for it, and as much memory if that is more than it needs: a LimitRange can demand a
// minimum of every container. That adds nothing to the requests of the pod, and a pod of
// the QoS class Guaranteed stays one.
func addedResources(pod *corev1.PodSpec, memory resource.Quantity) corev1.ResourceRequirements {
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

// unprivileged returns the security context of a container that is added to a pod. It
// complies with the Pod Security level restricted.
func unprivileged(pod *corev1.PodSpec) *corev1.SecurityContext {
	context := &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		RunAsNonRoot:             ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if user := podUser(pod); user == nil || *user == 0 {
		context.RunAsUser = ptr.To[int64](injectedUser)
	}
	return context
}

// LeaveUser removes the user from the containers that were added to a pod, for a namespace
// that assigns users to containers.
func LeaveUser(pod *corev1.Pod) {
	for _, c := range containersOf(&pod.Spec) {
		if isInjected(c) && c.SecurityContext != nil {
			c.SecurityContext.RunAsUser = nil
		}
	}
}

// isInjected reports whether a container is one that Serving or VerifyFiles has added.
func isInjected(c *corev1.Container) bool { return isCopyContainer(c) || isFilesContainer(c) }

func podUser(pod *corev1.PodSpec) *int64 {
	if pod.SecurityContext == nil {
		return nil
	}
	return pod.SecurityContext.RunAsUser
}

// isCopyContainer reports whether a container is the one that copies the model,
// of any image.
func isCopyContainer(c *corev1.Container) bool {
	if c.Name != servedModel || len(c.Command) != len(copyCommand("")) {
		return false
	}
	script := strings.TrimSuffix(c.Command[len(c.Command)-1], copyList)
	modelDir, found := strings.CutPrefix(strings.TrimSuffix(script, "/. "+copyDir+"/"), "cp -rf ")
	return found && contract.ModelPathProblem(modelDir) == "" && slices.Equal([]string{c.Command[0], c.Command[1], script}, copyCommand(modelDir))
}

// addCopyContainer makes the container that copies the model the pod's first init
// container, unless the pod has it already.
func addCopyContainer(spec *corev1.PodSpec, image, modelDir string) *workflow.Problem {
	for i, c := range containersOf(spec) {
		switch {
		case isCopyContainer(c) && c.Image == image && i < len(spec.InitContainers):
			return nil
		case c.Name == servedModel:
			return invalid("the pod already has a container with the name %s, which is reserved for the one that copies the model: rename the pod's container", servedModel)
		}
	}
	spec.InitContainers = slices.Insert(spec.InitContainers, 0, copyContainer(image, modelDir, spec))
	return nil
}

// removeInjected removes what was injected into a pod for another image or in
// another mode, as into a pod whose manifest was copied from a running one. A
// user who writes the annotation by hand loses what it names, and gains nothing.
func removeInjected(pod *corev1.Pod, image string, mode ServingMount) {
	before, spec := pod.Annotations[v1alpha1.AnnotationServedImage], &pod.Spec
	i := indexOfVolume(spec, servedModel)
	if before == "" || i < 0 {
		return
	}
	volume := spec.Volumes[i]
	copying := slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return isCopyContainer(&c) && c.Image == before })
	mounted := volume.Image != nil && volume.Image.Reference == before
	copied := volume.EmptyDir != nil && copying >= 0
	if !mounted && !copied || before == image && mounted == (mode == ServingImageVolume) {
		return
	}
	if copied {
		spec.InitContainers = slices.Delete(spec.InitContainers, copying, copying+1)
	}
	spec.Volumes = slices.Delete(spec.Volumes, i, i+1)
	for _, c := range containersOf(spec) {
		unmount(c)
	}
}

// unmount removes the mounts of the model, and the variable that names them.
func unmount(c *corev1.Container) {
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		if m.Name != servedModel {
			return false
		}
		c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool {
			return e.Name == v1alpha1.ModelPathEnv && e.Value == m.MountPath
		})
		return true
	})
}

// addPullSecret adds the Secret that the build pushed with to the pod's pull
// secrets. The creator of the pod could have named it: it is in the same
// namespace.
func addPullSecret(spec *corev1.PodSpec, mv *v1alpha1.ModelVersion) {
	secret := corev1.LocalObjectReference{Name: cmp.Or(ptr.Deref(mv.Spec.Build, v1alpha1.Build{}).PushSecretName, mv.Status.PullSecretName)}
	if secret.Name != "" && !slices.Contains(spec.ImagePullSecrets, secret) {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, secret)
	}
}
