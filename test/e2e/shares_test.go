//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

// There is no file server. What the test cluster's stand-ins export under these
// names are directories of this machine; kubelet's call of mount(8) and its
// calls of a CSI driver are real (test/cluster/README.md).
const (
	nfsServer      = "nas.example.com"
	fileSystem     = "fs-12345678"
	nfsExports     = "/var/lib/modelkiln-cluster/nfs/" + nfsServer
	efsDirectories = "/var/lib/modelkiln-cluster/efs/" + fileSystem
)

// shared creates a directory of a share with a small model in it.
func shared(t *testing.T, parent string) directory {
	t.Helper()
	dir := newDirectoryIn(t, parent)
	dir.write(t, "config.json", `{"layers": 2}`)
	dir.random(t, "weights/part-1.bin", 300_000)
	return dir
}

// baselineNamespace creates a namespace that admits pods of the Pod Security
// Standard level baseline and no others.
func (c *cluster) baselineNamespace(t *testing.T) string {
	t.Helper()
	ns := c.namespace(t)
	run(t, "kubectl", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=baseline")
	return ns
}

func nfsVersion(name, namespace string, from directory) *builders.ModelVersionWrapper {
	return builders.MakeModelVersion(name, namespace).ImageRepo("e2e/"+namespace).NFS(nfsServer, "/"+filepath.Base(string(from)))
}

func efsVersion(name, namespace string, from directory) *builders.ModelVersionWrapper {
	return builders.MakeModelVersion(name, namespace).ImageRepo("e2e/" + namespace).AWSEfs(fileSystem + ":/" + filepath.Base(string(from)))
}

func TestNFS(t *testing.T) {
	t.Parallel()
	ns := live.baselineNamespace(t)

	t.Run("holds the files of the directory", func(t *testing.T) {
		dir := shared(t, nfsExports)
		mv := live.built(t, nfsVersion("plain", ns, dir).New())
		assertImage(t, mv, dir)
		assert.Empty(t, mv.Status.NodeName, "any node may mount it")
	})
	t.Run("takes any name of a directory", func(t *testing.T) {
		dir := shared(t, nfsExports)
		odd := directory(string(dir) + ` "$(id)",'{a}' $$(HOME)`)
		require.NoError(t, os.Rename(string(dir), string(odd)))
		t.Cleanup(func() { assert.NoError(t, os.RemoveAll(string(odd))) })
		mv := live.built(t, nfsVersion("odd", ns, odd).Model("odd").New())
		assertImage(t, mv, odd)
	})
	t.Run("waits while the server does not export it", func(t *testing.T) {
		dir := shared(t, nfsExports)
		hidden := string(dir) + "-hidden"
		require.NoError(t, os.Rename(string(dir), hidden))
		t.Cleanup(func() { assert.NoError(t, os.RemoveAll(hidden)) })
		mv := nfsVersion("waits", ns, dir).Model("waits").New()
		live.create(t, mv)
		require.EventuallyWithT(t, func(collect *assert.CollectT) {
			var now v1alpha1.ModelVersion
			require.NoError(collect, live.Get(t.Context(), client.ObjectKeyFromObject(mv), &now))
			require.Equal(collect, v1alpha1.ReasonVolumeMountFailed, conditionReady(&now).Reason, now.Status.Message)
			assert.Contains(collect, now.Status.Message, "reason given by server: No such file or directory")
			assert.True(collect, meta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionReconciling))
		}, buildTime, tick)

		require.NoError(t, os.Rename(hidden, string(dir)))
		assertImage(t, live.ready(t, mv), dir)
	})
}

// Both PersistentVolumes are of the same file system and directory, and both
// ModelVersions have the same name.
func TestAWSEfs(t *testing.T) {
	t.Parallel()
	one, other := live.baselineNamespace(t), live.baselineNamespace(t)
	dir := shared(t, efsDirectories)
	versions := []*v1alpha1.ModelVersion{efsVersion("efs", one, dir).New(), efsVersion("efs", other, dir).New()}
	for _, mv := range versions {
		live.create(t, mv)
	}
	for i := range versions {
		versions[i] = live.ready(t, versions[i])
		assertImage(t, versions[i], dir)
		claim, volume := live.volumeOf(t, versions[i])
		assert.Equal(t, corev1.ClaimBound, claim.Status.Phase)
		assert.Equal(t, claim.UID, volume.Spec.ClaimRef.UID)
	}
	assert.NotEqual(t, workflow.VolumeName(versions[0]), workflow.VolumeName(versions[1]))

	t.Run("can be read and not written by pods of the namespace", func(t *testing.T) {
		claim := corev1.PersistentVolumeClaimVolumeSource{ClaimName: workflow.VolumeName(versions[0])}
		log := live.logOf(t, one, corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "tries", Image: live.registry + "/library/busybox:1.37",
				Command:      []string{"sh", "-c", "cat /model/config.json; touch /model/mine 2>&1 || true"},
				VolumeMounts: []corev1.VolumeMount{{Name: "model", MountPath: "/model"}},
			}},
			Volumes: []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &claim}}},
		})
		assert.Contains(t, log, `{"layers": 2}`)
		assert.Contains(t, log, "Read-only file system")
		assert.NoFileExists(t, dir.at("mine"))
	})
	t.Run("are deleted with their volumes, and not with each other's", func(t *testing.T) {
		claim, volume := live.volumeOf(t, versions[0])
		run(t, "kubectl", "delete", "mv", "efs", "-n", one)
		live.awaitAbsent(t, claim)
		live.awaitAbsent(t, volume)
		live.volumeOf(t, versions[1])
		assert.DirExists(t, string(dir), "the files stay")
	})
	t.Run("bind again when they are recreated", func(t *testing.T) {
		again := live.built(t, efsVersion("efs", one, dir).New())
		assertImage(t, again, dir)
		assert.NotEqual(t, workflow.VolumeName(versions[0]), workflow.VolumeName(again))
	})
	t.Run("are deleted with their volumes during the build", func(t *testing.T) {
		large := newDirectoryIn(t, efsDirectories)
		large.random(t, "weights.bin", 100<<20)
		mv := efsVersion("building", other, large).Model("building").New()
		live.create(t, mv)
		mv = live.running(t, mv)
		claim, volume := live.volumeOf(t, mv)
		run(t, "kubectl", "delete", "model", "building", "-n", other)
		live.awaitAbsent(t, mv)
		live.awaitAbsent(t, claim)
		live.awaitAbsent(t, volume)
	})
}

// volumeOf returns the volume that the operator has created for a ModelVersion.
func (c *cluster) volumeOf(t *testing.T, mv *v1alpha1.ModelVersion) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	t.Helper()
	name := workflow.VolumeName(mv)
	claim := &corev1.PersistentVolumeClaim{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: mv.Namespace, Name: name}, claim))
	volume := &corev1.PersistentVolume{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, volume))
	assert.True(t, metav1.IsControlledBy(claim, mv))
	return claim, volume
}

// awaitAbsent waits until an object is gone.
func (c *cluster) awaitAbsent(t *testing.T, object client.Object) {
	t.Helper()
	require.Eventually(t, func() bool {
		return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
	}, buildTime, tick, "%T %s is still there", object, object.GetName())
}
