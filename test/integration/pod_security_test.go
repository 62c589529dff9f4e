package integration

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// renderedPods are the build pods that Argo makes of the golden Workflows.
const renderedPods = "../argo/testdata"

// README's table of storage kinds and Pod Security levels, held against the API
// server's own admission.
func TestWhichPodSecurityLevelsTakeABuild(t *testing.T) {
	const privileged, baseline, restricted = "privileged", "baseline", "restricted"
	want := map[string]map[string]bool{
		"local-storage":       {privileged: true},
		"nfs":                 {privileged: true, baseline: true},
		"efs":                 {privileged: true, baseline: true},
		"claim-with-sub-path": {privileged: true, baseline: true},
	}
	for _, level := range []string{privileged, baseline, restricted} {
		s := newScene(t, shared)
		s.enforce(level)
		// A controller that does not run here makes it.
		require.NoError(t, s.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "default"}}))
		for storage, levels := range want {
			t.Run(storage+" in "+level, func(t *testing.T) {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "build"}}
				raw, err := os.ReadFile(filepath.Join(renderedPods, storage+".pod.yaml"))
				require.NoError(t, err)
				require.NoError(t, yaml.UnmarshalStrict(raw, &pod.Spec))

				err = s.client.Create(t.Context(), pod, client.DryRunAll)
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

// README's columns on training: the pods themselves would be taken at every level.
func TestWhichPodSecurityLevelsTakeATrainingPod(t *testing.T) {
	address := freeAddress(t)
	installWebhook(t, shared, address)
	startOperator(t, shared, withWebhook(address), withEFS())
	awaitWebhook(t)
	manifests := map[string]string{"localStorage": localVersion, "nfs": nfsVersion, "AWSEfs": efsVersion, "persistentVolumeClaim": claimVersion}
	for level, taken := range map[string][]string{
		"privileged": {"localStorage", "nfs", "AWSEfs", "persistentVolumeClaim"},
		"baseline":   {"nfs", "AWSEfs", "persistentVolumeClaim"},
		"restricted": {"AWSEfs", "persistentVolumeClaim"},
	} {
		for storage, manifest := range manifests {
			t.Run(storage+" in "+level, func(t *testing.T) {
				s := newScene(t, shared)
				namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
				patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"`+level+`"}}}`))
				require.NoError(t, s.client.Patch(t.Context(), namespace, patch))
				mv := s.apply(manifest)
				if storage == "AWSEfs" {
					s.argo.awaitOnlyWorkflow()
					s.persistentVolume(mv)
				}

				err := s.client.Create(t.Context(), unprivileged(trainingPod(s.namespace, resnet)))
				if slices.Contains(taken, storage) {
					require.NoError(t, err)
					return
				}
				require.True(t, apierrors.IsForbidden(err), "%v", err)
				assert.ErrorContains(t, err, `violates PodSecurity "`+level)
			})
		}
	}
}

// unprivileged makes a pod one that the level restricted takes.
func unprivileged(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return pod
}

// What people copy is taken as it is.
func TestOurSamplesApply(t *testing.T) {
	s := newScene(t, shared)
	files, err := filepath.Glob("../../deploy/samples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			objects, err := manifests(file)
			require.NoError(t, err)
			for _, o := range objects {
				o.SetNamespace(s.namespace)
				require.NoError(t, s.client.Create(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)))
			}
		})
	}
}
