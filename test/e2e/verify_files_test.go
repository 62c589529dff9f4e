//go:build e2e

package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// filesContainer is the name of the container that verifies the files.
const filesContainer = "served-model-files"

// kubelet mounts or copies the model for the container that verifies its files, which
// complies with the Pod Security level restricted. The operator is configured for the first
// mode. The pods of the second one are created here as the operator would create them.
func TestVerifyFiles(t *testing.T) {
	t.Parallel()
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			dir.write(t, ".hidden", "hidden")
			require.NoError(t, os.Symlink("config.json", dir.at("link")))
			secret, _ := signingSecret(t, ns, contract.DefaultSigningSecret)
			live.create(t, secret)
			mv := live.built(t, makeVersion("signed", ns, dir).Engine(engine).New())
			run(t, "kubectl", "label", "namespace", ns, "--overwrite", "pod-security.kubernetes.io/enforce=restricted")

			mounted := serverPod(ns, "image-volume")
			mounted.Labels[v1alpha1.LabelServeVersion], mounted.Labels[v1alpha1.LabelVerify] = mv.Name, "files"
			live.create(t, mounted)
			mounted = live.runs(t, mounted)
			assertVerified(t, mounted)
			assert.Equal(t, sumsOf(t, dir), live.sumsIn(t, mounted))

			check := checkOf(t, mv, mounted)
			copied := copiedPod(t, mv, "init-container", check)
			live.create(t, copied)
			assertVerified(t, live.runs(t, copied))

			// A user changes a file on the disk of the node.
			changed := copiedPod(t, mv, "changed", check)
			changes := *changed.Spec.InitContainers[0].DeepCopy()
			changes.Name, changes.Command = "changes", []string{"/bin/sh", "-c", "echo more >> /served-model/.hidden"}
			changed.Spec.InitContainers = slices.Insert(changed.Spec.InitContainers, 1, changes)
			live.create(t, changed)
			live.awaitNotVerified(t, changed, `".hidden" has 11 bytes instead of 6: this node does not have what was signed`)

			// The list is not the one that was signed.
			check.ListDigest = "sha256:" + strings.Repeat("0", 64)
			other := copiedPod(t, mv, "other", check)
			live.create(t, other)
			live.awaitNotVerified(t, other, "the list of files in the image has the digest sha256:")
		})
	}
}

// checkOf returns how the operator has a pod verify the files of a ModelVersion.
func checkOf(t *testing.T, mv *v1alpha1.ModelVersion, pod *corev1.Pod) inject.FilesCheck {
	t.Helper()
	i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == filesContainer })
	require.GreaterOrEqual(t, i, 0)
	digest, err := sign.ListDigest([]byte(mv.Status.Signature.Bundle), mv.Status.Digest)
	require.NoError(t, err)
	c := pod.Spec.InitContainers[i]
	assert.Contains(t, c.Args, "--"+contract.FlagListDigest+"="+digest)
	return inject.FilesCheck{Image: c.Image, Command: c.Command, ListDigest: digest}
}

// copiedPod returns a pod whose init containers copy the model and verify the copy.
func copiedPod(t *testing.T, mv *v1alpha1.ModelVersion, name string, check inject.FilesCheck) *corev1.Pod {
	t.Helper()
	pod, problem := inject.Serving(serverPod(mv.Namespace, name), mv, inject.ServingInitContainer)
	require.Nil(t, problem)
	require.Nil(t, inject.VerifyFiles(pod, mv, inject.ServingInitContainer, &check))
	withoutRecord(pod)
	return pod
}

func assertVerified(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	assert.Contains(t, run(t, "kubectl", "logs", "-n", pod.Namespace, pod.Name, "-c", filesContainer), "all files are those that were signed")
}

// awaitNotVerified waits until the container has failed, and checks that its termination
// message says why, and that the pod does not start.
func (c *cluster) awaitNotVerified(t *testing.T, pod *corev1.Pod, says string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		now := &corev1.Pod{}
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(pod), now))
		var messages []string
		for _, status := range now.Status.InitContainerStatuses {
			for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
				if status.Name == filesContainer && state.Terminated != nil {
					messages = append(messages, state.Terminated.Message)
				}
			}
		}
		assert.Contains(collect, strings.Join(messages, "\n"), says, "%+v", now.Status)
		assert.Equal(collect, corev1.PodPending, now.Status.Phase)
	}, time.Minute, tick)
}
