package integration

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// renderedPods holds the build pods that Argo creates from the golden
// Workflows.
const renderedPods = "../argo/testdata"

// The documented table of storage kinds and Pod Security Standard levels,
// checked by the API server's own admission.
func TestPodSecurityBuildPods(t *testing.T) {
	const privileged, baseline, restricted = "privileged", "baseline", "restricted"
	want := map[string]map[string]bool{
		"local-storage":       {privileged: true},
		"nfs":                 {privileged: true, baseline: true},
		"efs":                 {privileged: true, baseline: true},
		"claim-with-sub-path": {privileged: true, baseline: true},
	}
	for _, level := range []string{privileged, baseline, restricted} {
		s := newSandbox(t, shared)
		s.enforcePodSecurity(level)
		// The service account controller, which does not run here, creates it.
		require.NoError(t, s.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "default"}}))
		for storage, levels := range want {
			t.Run(storage+" in "+level, func(t *testing.T) {
				err := s.client.Create(t.Context(), buildPod(t, s.namespace, storage), client.DryRunAll)
				if levels[level] {
					require.NoError(t, err)
					return
				}
				require.True(t, apierrors.IsForbidden(err), "%v", err)
				assert.ErrorContains(t, err, `violates PodSecurity "`+level)
			})
		}
	}
}

// The documented columns for training: without the injected volume, every level
// would admit these pods.
func TestPodSecurityTrainingPods(t *testing.T) {
	startWithWebhook(t, withEFS())
	manifests := map[string]string{"localStorage": localVersion, "nfs": nfsVersion, "AWSEfs": efsVersion, "persistentVolumeClaim": claimVersion}
	for level, admitted := range map[string][]string{
		"privileged": {"localStorage", "nfs", "AWSEfs", "persistentVolumeClaim"},
		"baseline":   {"nfs", "AWSEfs", "persistentVolumeClaim"},
		"restricted": {"AWSEfs", "persistentVolumeClaim"},
	} {
		for storage, manifest := range manifests {
			t.Run(storage+" in "+level, func(t *testing.T) {
				s := newSandbox(t, shared)
				s.enforcePodSecurity(level)
				mv := s.create(manifest)
				if storage == "AWSEfs" {
					s.argo.awaitOnlyWorkflow()
					s.persistentVolume(mv)
				}

				err := s.client.Create(t.Context(), restricted(trainingPod(s.namespace, resnet)))
				if slices.Contains(admitted, storage) {
					require.NoError(t, err)
					return
				}
				require.True(t, apierrors.IsForbidden(err), "%v", err)
				assert.ErrorContains(t, err, `violates PodSecurity "`+level)
			})
		}
	}
}

// Pod Security admission checks the pod after the webhook has changed it.
func TestPodSecurityAfterInjection(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.enforcePodSecurity("baseline")
	s.create(localVersion)

	require.NoError(t, s.client.Create(t.Context(), plainPod(s.namespace)))
	err := s.client.Create(t.Context(), trainingPod(s.namespace, resnet))
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	assert.ErrorContains(t, err, "hostPath volumes")
}

// restricted changes a pod so that the level restricted admits it.
func restricted(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return pod
}
