package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// trainingVolume is the name of the volume that is added to training pods.
const trainingVolume = "kubedl-model"

// Training returns a pod with a ModelVersion's storage mounted in every
// container, init containers too, writable, and with the environment variable
// that names the directory. It does not replace what a container already mounts
// there, nor the variable of a container that sets it. A pod that has all of
// this already is returned as it is.
//
// The Problem, where there is one, is why the pod may not have the storage; the
// pod is then returned unchanged. The pod gets nothing that its creator could
// not have written into it: Pod Security admission sees the pod afterwards.
func Training(pod *corev1.Pod, mv *v1alpha1.ModelVersion, opts workflow.Options) (*corev1.Pod, *workflow.Problem) {
	if problem := workflow.TrainingProblem(mv, opts); problem != nil {
		return pod, problem
	}
	if mv.Spec.Storage.Image != nil {
		return pod, &workflow.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: "Its storage is an image that exists already, and no pod can write to it. Remove the label " + v1alpha1.LabelTrainVersion + ", or name a ModelVersion with storage that pods can mount. To read the model while training, set the label " + v1alpha1.LabelServeVersion + " instead"}
	}
	if s := mv.Spec.Storage; s.S3 != nil || s.HuggingFace != nil {
		return pod, &workflow.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: "Pods cannot mount the storage kinds s3 and huggingFace. To train with this ModelVersion, name the workload in spec.trainedBy, remove the label " + v1alpha1.LabelTrainVersion + " from its pods, and have them upload the files"}
	}
	volume, mount := trainingMount(mv)
	trained := pod.DeepCopy()
	if !mountIntoAll(containersOf(&trained.Spec), mount) {
		return trained, nil
	}
	if problem := addVolume(&trained.Spec, volume, "the storage of the ModelVersion"); problem != nil {
		return pod, problem
	}
	if dir := mv.Spec.Storage.LocalStorage; dir != nil && dir.NodeName != "" {
		bindToNode(&trained.Spec, dir.NodeName)
	}
	return trained, nil
}

// TrainingFromTemplate returns a pod of a workload that has the template of a
// ModelVersion, with that ModelVersion's storage and its name as the pod's label:
// what Training does for a ModelVersion that exists.
func TrainingFromTemplate(pod *corev1.Pod, mv *v1alpha1.ModelVersion, opts workflow.Options) (*corev1.Pod, *workflow.Problem) {
	if mv.Spec.Storage.AWSEfs != nil {
		return pod, lifecycle.TemplateProblem("has storage AWSEfs, whose claim is created with the ModelVersion: apply the ModelVersion together with the workload, with trainedBy, and name it in the pod's label")
	}
	trained, problem := Training(pod, mv, opts)
	if problem != nil {
		return pod, problem
	}
	metav1.SetMetaDataLabel(&trained.ObjectMeta, v1alpha1.LabelTrainVersion, mv.Name)
	return trained, nil
}

// trainingMount returns a ModelVersion's storage as a pod's volume, and its mount.
// A directory that does not exist is created, as kubelet creates the directory of
// a sub-path: the training fills it. Kubelet resolves the sub-path, and follows
// no link out of the claim.
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
		volume.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: workflow.VolumeName(mv)}
	case s.PersistentVolumeClaim != nil:
		volume.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.PersistentVolumeClaim.ClaimName}
		mount.SubPath = s.PersistentVolumeClaim.SubPath
	}
	if mountPath != "" {
		mount.MountPath = mountPath
	}
	return volume, mount
}

// bindToNode binds a pod to a node, in addition to the pod's own node affinity.
// A node has to match one of the terms, so each of them names the node. No node
// matches an empty term, which stays empty.
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
