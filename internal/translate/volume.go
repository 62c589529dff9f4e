package translate

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

// Volume is storage that the operator makes for a version: a claim, and a
// PersistentVolume that nothing else may claim. Both have the same name.
type Volume struct {
	// Claim is the claim, in the version's namespace and controlled by the
	// version.
	Claim *corev1.PersistentVolumeClaim
	// Persistent is the PersistentVolume for the claim that is made after it.
	Persistent *corev1.PersistentVolume
}

// For is the PersistentVolume for the claim of this UID, which is there already.
func (v *Volume) For(claim types.UID) *corev1.PersistentVolume {
	volume := v.Persistent.DeepCopy()
	volume.Spec.ClaimRef.UID = claim
	return volume
}

// VolumeName is the name of a version's claim and PersistentVolume. That of the
// latter is the cluster's, so that the namespace is in it, and the UID, so that
// a version that was deleted and made again does not meet what its predecessor
// has left: a PersistentVolume binds but once.
func VolumeName(mv *v1alpha1.ModelVersion) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{mv.Namespace, mv.Name, string(mv.UID)}, "/")))
	return "modelkiln-" + hex.EncodeToString(sum[:10])
}

// efsVolume is the storage of a version on an Elastic File System.
func efsVolume(mv *v1alpha1.ModelVersion, s v1alpha1.AWSEfs, opts Options) *Volume {
	return &Volume{
		Claim: &corev1.PersistentVolumeClaim{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace:       mv.Namespace,
				Name:            VolumeName(mv),
				Labels:          volumeLabels(mv),
				OwnerReferences: controlledBy(mv),
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

// efsMountOptions have whatever pod mounts a PersistentVolume do so read-only,
// unless the platform team lets pods write: the driver has no mode for many
// readers. A build mounts it read-only itself.
func efsMountOptions(opts Options) []string {
	if opts.EFS.Writable {
		return nil
	}
	return []string{"ro"}
}

// attributes are the volume attributes as the CSI driver takes them.
func attributes(s v1alpha1.AWSEfs) map[string]string {
	all := map[string]string{}
	for name, value := range s.Attributes {
		all[name] = string(value)
	}
	return all
}

// Binds says that a PersistentVolume that is there can take the place of the one
// that is wanted: it is the version's, and for the same claim or for none yet.
func Binds(there, wanted *corev1.PersistentVolume) bool {
	claimRef := there.Spec.ClaimRef
	return isOfSameVersion(there, wanted) && there.DeletionTimestamp.IsZero() &&
		claimRef != nil && (claimRef.UID == "" || claimRef.UID == wanted.Spec.ClaimRef.UID)
}

// IsLeftOver says that a PersistentVolume that is there is the version's, and
// can only be deleted: it was for a claim that is gone.
func IsLeftOver(there, wanted *corev1.PersistentVolume) bool {
	return isOfSameVersion(there, wanted) && there.DeletionTimestamp.IsZero() && !Binds(there, wanted)
}

func isOfSameVersion(a, b *corev1.PersistentVolume) bool {
	return a.Labels[v1alpha1.LabelModelVersionUID] == b.Labels[v1alpha1.LabelModelVersionUID]
}

// volumeLabels say which version a claim or a PersistentVolume is for.
func volumeLabels(mv *v1alpha1.ModelVersion) map[string]string {
	return map[string]string{
		"app.kubernetes.io/managed-by": "modelkiln",
		v1alpha1.LabelModelName:        mv.Spec.ModelName,
		v1alpha1.LabelModelVersion:     labelValue(mv.Name),
		v1alpha1.LabelModelVersionUID:  string(mv.UID),
	}
}

// accessModes are the only ones in common to what the CSI driver and more than
// one node take.
func accessModes() []corev1.PersistentVolumeAccessMode {
	return []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
}

// capacity is what has to be said, and means nothing on a file system that
// grows: little, so that a quota of the namespace is not used up.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
}
