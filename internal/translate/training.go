package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// trainingVolume is the name of the volume that a training pod gets.
const trainingVolume = "kubedl-model"

// Training is a pod that has a version's storage in every container, init
// containers too, writable, and the environment variable that says where. What
// a container mounts there already, and what it sets that variable to, is left
// alone. A pod that was given all of this before comes back as it is.
//
// The Problem, where there is one, is why the pod may not have the storage; the
// pod is returned unchanged then. Nothing here lets a pod have more than whoever
// makes it could have written into it: Pod Security looks at the pod afterwards.
func Training(pod *corev1.Pod, mv *v1alpha1.ModelVersion, opts Options) (*corev1.Pod, *Problem) {
	if problem := trainingProblem(mv, opts); problem != nil {
		return pod, problem
	}
	volume, mount := trainingMount(mv)
	trained := pod.DeepCopy()
	if !mountIntoAll(containersOf(&trained.Spec), mount) {
		return trained, nil
	}
	if problem := addVolume(&trained.Spec, volume, "the version's storage"); problem != nil {
		return pod, problem
	}
	if folder := mv.Spec.Storage.LocalStorage; folder != nil && folder.NodeName != "" {
		bindToNode(&trained.Spec, folder.NodeName)
	}
	return trained, nil
}

// trainingProblem is why a version's storage may not be mounted for training, or
// nil. In a folder of no certain node a job may write, although none can be
// packaged from there.
func trainingProblem(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	if folder := mv.Spec.Storage.LocalStorage; folder != nil && folder.Path != "" && folder.NodeName == "" {
		return folderProblem(folder.Path, opts)
	}
	return sourceOf(mv, opts).problem
}

// trainingMount is a version's storage as a pod's volume, and where it goes. A
// folder that is not there is made, as Kubernetes makes that of a sub-path: it is
// the training that fills it. The sub-path is looked up by the kubelet, which
// follows no link out of the claim.
func trainingMount(mv *v1alpha1.ModelVersion) (corev1.Volume, corev1.VolumeMount) {
	volume := corev1.Volume{Name: trainingVolume}
	mount := corev1.VolumeMount{Name: trainingVolume, MountPath: v1alpha1.ModelPath}
	s := mv.Spec.Storage
	mountPath := ""
	switch {
	case s.LocalStorage != nil:
		volume.HostPath = &corev1.HostPathVolumeSource{Path: s.LocalStorage.Path, Type: ptr.To(corev1.HostPathDirectoryOrCreate)}
		mountPath = s.LocalStorage.MountPath
	case s.NFS != nil:
		volume.NFS = &corev1.NFSVolumeSource{Server: s.NFS.Server, Path: s.NFS.Path}
		mountPath = s.NFS.MountPath
	case s.AWSEfs != nil:
		volume.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: VolumeName(mv)}
	case s.PersistentVolumeClaim != nil:
		volume.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.PersistentVolumeClaim.ClaimName}
		mount.SubPath = s.PersistentVolumeClaim.SubPath
	}
	if mountPath != "" {
		mount.MountPath = mountPath
	}
	return volume, mount
}

// bindToNode binds a pod to a node, beside what the pod asks of nodes itself.
// One of the terms has to be met, so that each of them names the node. A term
// that is empty is met by no node, and stays so.
func bindToNode(spec *corev1.PodSpec, node string) {
	onNode := corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	affinity := spec.Affinity.NodeAffinity
	if affinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{onNode}}},
		}
		return
	}
	terms := affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for i := range terms {
		empty := len(terms[i].MatchExpressions)+len(terms[i].MatchFields) == 0
		named := slices.ContainsFunc(terms[i].MatchFields, func(r corev1.NodeSelectorRequirement) bool { return equality.Semantic.DeepEqual(r, onNode) })
		if !empty && !named {
			terms[i].MatchFields = append(terms[i].MatchFields, onNode)
		}
	}
}
