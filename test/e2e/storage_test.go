//go:build e2e

package e2e

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestPersistentVolumeClaim(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	disk := newDirectory(t)
	disk.write(t, "runs/7/model.onnx", "onnx")
	disk.write(t, "runs/7/labels/en.txt", "cat\ndog\n")
	disk.write(t, "runs/8/model.onnx", "of another run")
	disk.write(t, "private/key", "not the model's")
	require.NoError(t, os.Symlink("/etc", disk.at("out")))
	live.claimOf(t, ns, "training-output", disk)
	version := func(name, subPath string) *v1alpha1.ModelVersion {
		mv := makeVersion(name, ns, "").Claim("training-output", subPath).New()
		mv.Spec.Storage.LocalStorage = nil
		return mv
	}

	t.Run("holds the files of its sub-path and no others", func(t *testing.T) {
		mv := live.built(t, version("sub-path", "runs/7"))
		assertImage(t, mv, directory(disk.at("runs/7")))
		assert.Empty(t, mv.Status.NodeName, "a claim may be mounted on any node")
	})
	t.Run("fails if the sub-path leads out of the claim", func(t *testing.T) {
		mv, _ := live.failed(t, version("out", "out"))
		assertFailed(t, mv, v1alpha1.ReasonSourceUnsafe, "out")
	})
}

// claimOf creates a claim whose volume is a directory of the node.
func (c *cluster) claimOf(t *testing.T, namespace, name string, dir directory) {
	t.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      size,
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{Namespace: namespace, Name: name},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: string(dir), Type: ptr.To(corev1.HostPathDirectory)},
			},
		},
	}
	c.create(t, volume)
	c.deleteAfter(t, volume)
	c.create(t, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: size},
			StorageClassName: ptr.To(""),
			VolumeName:       volume.Name,
		},
	})
}
