package translate

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
)

// ServingMount is how pods get the model that they serve.
type ServingMount string

const (
	// ServingAuto is the way that suits the API server's version.
	ServingAuto ServingMount = "Auto"
	// ServingImageVolume mounts the image itself.
	ServingImageVolume ServingMount = "ImageVolume"
	// ServingInitContainer copies the files with the image's own shell, as KubeDL
	// does.
	ServingInitContainer ServingMount = "InitContainer"
)

// ServingMountFor is the way that suits an API server: image volumes are switched
// on from Kubernetes 1.35 on. A server that behaves as an older one, as in the
// middle of an upgrade, is as old as that.
func ServingMountFor(server version.Info) ServingMount {
	major := versionNumber(cmp.Or(server.EmulationMajor, server.Major))
	minor := versionNumber(cmp.Or(server.EmulationMinor, server.Minor))
	if major > 1 || (major == 1 && minor >= 35) {
		return ServingImageVolume
	}
	return ServingInitContainer
}

// versionNumber reads one number of a version. Some vendors write 35+.
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
	// copyFolder is where that container has the volume.
	copyFolder = "/served-model"
	// copyCommand copies what can be there already: kubelet may run an init
	// container twice.
	copyCommand = "cp -rf " + v1alpha1.ModelPath + "/. " + copyFolder + "/"
	// copyUser is who copies, in pods that do not say who runs them: anyone but
	// root may read the model.
	copyUser = 65532
)

// Serving is a pod that has the model of a version's image in every container,
// init containers too, read-only, and the environment variable that says where.
// What a container mounts there already, and what it sets that variable to, is
// left alone. The image is pinned by its digest, pulled with the version's
// Secret, and named in the pod's annotations, whatever these said before. A pod
// that was given all of this before comes back as it is.
//
// The Problem, where there is one, is why the pod cannot have the model; the pod
// is returned unchanged then. The way is not ServingAuto.
func Serving(pod *corev1.Pod, mv *v1alpha1.ModelVersion, way ServingMount) (*corev1.Pod, *Problem) {
	if problem := servingProblem(mv); problem != nil {
		return pod, problem
	}
	at, problem := mountPath(pod)
	if problem != nil {
		return pod, problem
	}
	image := pinned(mv.Status.Image, mv.Status.Digest)
	volume, mount := servedVolume(image, at, way)
	served := pod.DeepCopy()
	takeOut(served, image, way)
	containers := slices.DeleteFunc(containersOf(&served.Spec), isCopier)
	if !mountIntoAll(containers, mount) {
		return pod, &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("every container of the pod has something of its own at %s: name another folder with the annotation %s", at, v1alpha1.AnnotationMountPath)}
	}
	if problem := addVolume(&served.Spec, volume, "the version's model"); problem != nil {
		return pod, problem
	}
	if way == ServingInitContainer {
		if problem := addCopier(&served.Spec, image); problem != nil {
			return pod, problem
		}
	}
	addPullSecret(&served.Spec, mv)
	metav1.SetMetaDataAnnotation(&served.ObjectMeta, v1alpha1.AnnotationServedVersion, mv.Name)
	metav1.SetMetaDataAnnotation(&served.ObjectMeta, v1alpha1.AnnotationServedImage, image)
	return served, nil
}

// MadeWhenReady says when a pod that was refused is made after all.
const MadeWhenReady = "A Deployment, a StatefulSet, a DaemonSet or a Job makes its pods by itself when the version is Ready; a pod of nobody's has to be created again then"

// servingProblem is why a version cannot be served, or nil.
func servingProblem(mv *v1alpha1.ModelVersion) *Problem {
	reason, message := readyReason(mv), mv.Status.Message
	switch {
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded && mv.Status.Digest != "":
		return nil
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded:
		return &Problem{reason, "it was built by KubeDL, which has not kept the image's digest: make a new ModelVersion, or name its image in the pod yourself, which is " + mv.Status.Image}
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed && reason == "":
		return &Problem{reason, "its build failed under KubeDL, for good: name another version"}
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed:
		return &Problem{reason, fmt.Sprintf("its build failed (%s): %s. %s", reason, message, MadeWhenReady)}
	case reason == "":
		return &Problem{reason, "its build has not begun. " + MadeWhenReady}
	default:
		return &Problem{reason, fmt.Sprintf("it is not built yet (%s): %s. %s", reason, message, MadeWhenReady)}
	}
}

var mountPathPattern = regexp.MustCompile(`\A(/[A-Za-z0-9._-]+)+\z`)

// mountPath is where a pod wants its model.
func mountPath(pod *corev1.Pod) (string, *Problem) {
	at, asked := pod.Annotations[v1alpha1.AnnotationMountPath]
	if !asked {
		return v1alpha1.ModelPath, nil
	}
	if !mountPathPattern.MatchString(at) || path.Clean(at) != at {
		return "", &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("the pod's annotation %s is %q: let it be an absolute path of letters, digits, '.', '_' and '-' without '..', such as /mnt/models", v1alpha1.AnnotationMountPath, at)}
	}
	return at, nil
}

// servedVolume is the volume with an image's model, and its mount.
func servedVolume(image, at string, way ServingMount) (corev1.Volume, corev1.VolumeMount) {
	volume := corev1.Volume{Name: servedModel}
	mount := corev1.VolumeMount{Name: servedModel, MountPath: at, ReadOnly: true}
	if way == ServingImageVolume {
		volume.Image = &corev1.ImageVolumeSource{Reference: image, PullPolicy: corev1.PullIfNotPresent}
		mount.SubPath = strings.TrimPrefix(v1alpha1.ModelPath, "/")
	} else {
		volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	return volume, mount
}

// copier is the container that copies the model. Its requests are its limits, so
// that a pod of the class Guaranteed stays one, and they add nothing to those of
// a pod whose containers ask for as much.
func copier(image string, pod *corev1.PodSpec) corev1.Container {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("128Mi")}
	c := corev1.Container{
		Name:                     servedModel,
		Image:                    image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Command:                  []string{"/bin/sh", "-c", copyCommand},
		Resources:                corev1.ResourceRequirements{Requests: amounts, Limits: amounts.DeepCopy()},
		VolumeMounts:             []corev1.VolumeMount{{Name: servedModel, MountPath: copyFolder}},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			ReadOnlyRootFilesystem:   ptr.To(true),
			RunAsNonRoot:             ptr.To(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if user := podUser(pod); user == nil || *user == 0 {
		c.SecurityContext.RunAsUser = ptr.To[int64](copyUser)
	}
	return c
}

func podUser(pod *corev1.PodSpec) *int64 {
	if pod.SecurityContext == nil {
		return nil
	}
	return pod.SecurityContext.RunAsUser
}

// isCopier says that a container is the one that copies the model, of whatever
// image.
func isCopier(c *corev1.Container) bool {
	return c.Name == servedModel && slices.Equal(c.Command, []string{"/bin/sh", "-c", copyCommand})
}

// addCopier has a pod begin with the container that copies the model, unless it
// has that already.
func addCopier(spec *corev1.PodSpec, image string) *Problem {
	for i, c := range containersOf(spec) {
		switch {
		case isCopier(c) && c.Image == image && i < len(spec.InitContainers):
			return nil
		case c.Name == servedModel:
			return &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("the pod has a container of its own with the name %s, which the one that copies the version's model gets: give the pod's container another name", servedModel)}
		}
	}
	spec.InitContainers = slices.Insert(spec.InitContainers, 0, copier(image, spec))
	return nil
}

// takeOut takes away what a pod was given before for another image or in another
// way, as a pod that was copied from one that ran. Who has written the annotation
// itself loses what it speaks of, and gains nothing.
func takeOut(pod *corev1.Pod, image string, way ServingMount) {
	before, spec := pod.Annotations[v1alpha1.AnnotationServedImage], &pod.Spec
	there := indexOfVolume(spec, servedModel)
	if before == "" || there < 0 {
		return
	}
	volume := spec.Volumes[there]
	copies := slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return isCopier(&c) && c.Image == before })
	mounted := volume.Image != nil && volume.Image.Reference == before
	copied := volume.EmptyDir != nil && copies >= 0
	if !mounted && !copied || before == image && mounted == (way == ServingImageVolume) {
		return
	}
	if copied {
		spec.InitContainers = slices.Delete(spec.InitContainers, copies, copies+1)
	}
	spec.Volumes = slices.Delete(spec.Volumes, there, there+1)
	for _, c := range containersOf(spec) {
		unmount(c)
	}
}

// unmount takes the mounts of the model away, and the variable that names them.
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

// addPullSecret has a pod pull with the Secret that the version's own registry
// was asked with. Whoever makes the pod could have named it there: it is of the
// same namespace.
func addPullSecret(spec *corev1.PodSpec, mv *v1alpha1.ModelVersion) {
	secret := corev1.LocalObjectReference{Name: cmp.Or(ptr.Deref(mv.Spec.Build, v1alpha1.Build{}).PushSecretName, mv.Status.PullSecretName)}
	if secret.Name != "" && !slices.Contains(spec.ImagePullSecrets, secret) {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, secret)
	}
}
