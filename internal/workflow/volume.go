package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// efsDriver is the name of the CSI driver for AWS Elastic File Systems.
const efsDriver = "efs.csi.aws.com"

// A Volume is the storage that the operator creates for a ModelVersion: a claim,
// and a PersistentVolume that no other claim can bind. Both have the same name.
type Volume struct {
	// Claim is in the ModelVersion's namespace and controlled by the ModelVersion.
	Claim *corev1.PersistentVolumeClaim
	// Persistent is the PersistentVolume for the claim. It is created after the
	// claim.
	Persistent *corev1.PersistentVolume
}

// For returns the PersistentVolume for an existing claim of this UID.
func (v *Volume) For(claim types.UID) *corev1.PersistentVolume {
	volume := v.Persistent.DeepCopy()
	volume.Spec.ClaimRef.UID = claim
	return volume
}

// VolumeName returns the name of a ModelVersion's claim and PersistentVolume. The
// hash covers the namespace, because a PersistentVolume is cluster-scoped. It also
// covers the UID, because a ModelVersion that was deleted and created again cannot
// use the PersistentVolume of its predecessor, which binds only once.
func VolumeName(mv *v1alpha1.ModelVersion) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{mv.Namespace, mv.Name, string(mv.UID)}, "/")))
	return "modelkiln-" + hex.EncodeToString(sum[:10])
}

// efsVolume returns the storage of a ModelVersion on an Elastic File System.
func efsVolume(mv *v1alpha1.ModelVersion, s v1alpha1.AWSEfs, opts Options) *Volume {
	return &Volume{
		Claim: &corev1.PersistentVolumeClaim{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace:       mv.Namespace,
				Name:            VolumeName(mv),
				Labels:          volumeLabels(mv),
				OwnerReferences: controllerReference("ModelVersion", mv),
			},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes:      accessModes(),
				Resources:        corev1.VolumeResourceRequirements{Requests: capacity()},
				StorageClassName: ptr.To(""),
				VolumeName:       VolumeName(mv),
			},
		},
		Persistent: &corev1.PersistentVolume{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
			ObjectMeta: metav1.ObjectMeta{Name: VolumeName(mv), Labels: volumeLabels(mv)},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:                      capacity(),
				AccessModes:                   accessModes(),
				MountOptions:                  efsMountOptions(opts),
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: mv.Namespace, Name: VolumeName(mv)},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
					Driver:           efsDriver,
					VolumeHandle:     s.VolumeHandle,
					VolumeAttributes: attributes(s),
				}},
			},
		},
	}
}

// efsMountOptions returns the mount options of a PersistentVolume: read-only for
// every pod, unless the platform team allows pods to write. They are needed because
// the driver does not support the access mode ReadOnlyMany. A build always mounts
// the claim read-only.
func efsMountOptions(opts Options) []string {
	if opts.EFS.Writable {
		return nil
	}
	return []string{"ro"}
}

// attributes returns the volume attributes in the CSI driver's form.
func attributes(s v1alpha1.AWSEfs) map[string]string {
	all := map[string]string{}
	for name, value := range s.Attributes {
		all[name] = string(value)
	}
	return all
}

// Binds reports whether an existing PersistentVolume can serve as the wanted one:
// it belongs to the ModelVersion, and is for the same claim or for none yet.
func Binds(existing, wanted *corev1.PersistentVolume) bool {
	claimRef := existing.Spec.ClaimRef
	return belongToSameVersion(existing, wanted) && existing.DeletionTimestamp.IsZero() &&
		claimRef != nil && (claimRef.UID == "" || claimRef.UID == wanted.Spec.ClaimRef.UID)
}

// IsLeftOver reports whether an existing PersistentVolume belongs to the
// ModelVersion but can no longer bind, because its claim is gone. It must be
// deleted.
func IsLeftOver(existing, wanted *corev1.PersistentVolume) bool {
	return belongToSameVersion(existing, wanted) && existing.DeletionTimestamp.IsZero() && !Binds(existing, wanted)
}

func belongToSameVersion(a, b *corev1.PersistentVolume) bool {
	return a.Labels[v1alpha1.LabelModelVersionUID] == b.Labels[v1alpha1.LabelModelVersionUID]
}

// IsVolumeOf reports whether a claim or a PersistentVolume was created for the
// ModelVersion with this UID.
func IsVolumeOf(object metav1.Object, uid string) bool {
	return uid != "" && object.GetLabels()[v1alpha1.LabelModelVersionUID] == uid
}

// volumeLabels returns the labels that identify the ModelVersion of a claim or a
// PersistentVolume.
func volumeLabels(mv *v1alpha1.ModelVersion) map[string]string {
	labels := ManagedLabels()
	labels[v1alpha1.LabelModelName] = mv.Spec.ModelName
	labels[v1alpha1.LabelModelVersion] = labelValue(mv.Name)
	labels[v1alpha1.LabelModelVersionUID] = string(mv.UID)
	return labels
}

// ManagedLabels returns the labels that every claim and PersistentVolume of the
// operator has.
func ManagedLabels() map[string]string {
	return map[string]string{"app.kubernetes.io/managed-by": "modelkiln"}
}

// MayHaveVolume reports whether a ModelVersion's storage needs a PersistentVolume, and
// the operator's options allow it.
func MayHaveVolume(mv *v1alpha1.ModelVersion, opts Options) bool {
	source := sourceOf(mv, opts)
	return source.volume != nil && source.problem == nil
}

// accessModes returns the only access mode of the CSI driver that allows more than
// one node.
func accessModes() []corev1.PersistentVolumeAccessMode {
	return []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
}

// capacity returns the capacity, which Kubernetes requires although the file system
// grows as needed. It is small, so that it does not use up the namespace's quota.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
}
