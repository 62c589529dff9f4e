package workload_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/internal/workload"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestRevisionOf(t *testing.T) {
	for name, tt := range map[string]struct {
		apiVersion, kind, owner string
		labels                  map[string]string
		want                    string // The ControllerRevision.
		next                    string // Empty if the revision is not known.
	}{
		"a Deployment":    {"apps/v1", "ReplicaSet", "web-65d8", map[string]string{"pod-template-hash": "65d8"}, "", "kubectl rollout restart -n team-a deployment/web"},
		"a Rollout":       {"apps/v1", "ReplicaSet", "web-65d8", map[string]string{"rollouts-pod-template-hash": "65d8"}, "", "change the pod template of the object that controls ReplicaSet web-65d8, for example an annotation"},
		"a Job":           {"batch/v1", "Job", "predict", nil, "", "create Job predict again"},
		"a StatefulSet":   {"apps/v1", "StatefulSet", "web", map[string]string{"controller-revision-hash": "web-65d8"}, "web-65d8", "kubectl rollout restart -n team-a statefulset/web"},
		"a DaemonSet":     {"apps/v1", "DaemonSet", "web", map[string]string{"controller-revision-hash": "65d8"}, "web-65d8", "kubectl rollout restart -n team-a daemonset/web"},
		"without a hash":  {"apps/v1", "StatefulSet", "web", nil, "", ""},
		"a RayCluster":    {"ray.io/v1", "RayCluster", "web", map[string]string{"controller-revision-hash": "65d8"}, "", ""},
		"another's name":  {"example.com/v1", "ReplicaSet", "web", nil, "", ""},
		"a Job of others": {"batch.volcano.sh/v1alpha1", "Job", "predict", nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			owner := metav1.OwnerReference{APIVersion: tt.apiVersion, Kind: tt.kind, Name: tt.owner, UID: "owner", Controller: ptr.To(true)}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tt.labels, OwnerReferences: []metav1.OwnerReference{owner}}}
			got, known := workload.RevisionOf(pod)
			require.Equal(t, tt.next != "", known)
			if known {
				assert.Equal(t, workload.Revision{Owner: owner, ControllerRevision: tt.want}, got)
				assert.Equal(t, tt.next, workload.NextRevision(pod, "team-a", got))
			}
		})
	}
	t.Run("a pod of its own", func(t *testing.T) {
		_, known := workload.RevisionOf(&corev1.Pod{})
		assert.False(t, known)
	})
}

func TestServedRecord(t *testing.T) {
	served := workload.Served{Model: "resnet", ModelVersion: "resnet-1", Digest: builders.Digest}
	owner := workload.NewOwnerReference("apps/v1", "ReplicaSet", "web-65d8", "1c072d5e")
	record, err := workload.NewServedRecord("team-a", owner, served)
	require.NoError(t, err)

	got, err := workload.ReadServedRecord(record)
	require.NoError(t, err)
	assert.Equal(t, &served, got)
	assert.Equal(t, workload.ServedRecordName("1c072d5e", "resnet", ""), record.Name)
	assert.NotEqual(t, record.Name, workload.ServedRecordName("1c072d5f", "resnet", ""))
	assert.NotEqual(t, record.Name, workload.ServedRecordName("1c072d5e", "bert", ""))
	assert.NotEqual(t, record.Name, workload.ServedRecordName("1c072d5e", "resnet", "production"))
	assert.True(t, metav1.IsControlledBy(record, &metav1.ObjectMeta{UID: "1c072d5e"}), "otherwise a StatefulSet with the same label as selector would adopt it")
	assert.Nil(t, record.OwnerReferences[0].BlockOwnerDeletion, "the operator may not set it")

	record.Data.Raw = []byte("[")
	_, err = workload.ReadServedRecord(record)
	assert.ErrorContains(t, err, "decode ControllerRevision")
}
