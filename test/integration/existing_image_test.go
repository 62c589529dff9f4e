package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A ModelVersion of an image that exists already is the Model's latest one when its
// Workflow has verified the digest. Pods can serve it, and none can train into it.
func TestExistingImage(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	mv := s.create(nfsVersion, storedImage(digest))
	wf := s.argo.awaitAttempt(mv, 1)
	assert.Equal(t, contract.StorageImage, argument(wf, contract.ParamStorageKind))
	assert.Equal(t, digest, argument(wf, contract.ParamImageDigest))
	mv = s.completeBuild(wf)
	assert.Equal(t, digest, mv.Status.Digest)
	assert.Equal(t, "Image "+mv.Status.Image+" was verified in the registry", mv.Status.Message)
	s.awaitLatest("resnet", s.latestVersion(mv.Name))

	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "train", Labels: map[string]string{v1alpha1.LabelTrainVersion: mv.Name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "train", Image: "busybox"}}},
	}
	err := s.client.Create(t.Context(), pod)
	require.ErrorContains(t, err, "Its storage is an image that exists already, and no pod can write to it")

	pod.Labels = map[string]string{v1alpha1.LabelServeVersion: mv.Name}
	require.NoError(t, s.client.Create(t.Context(), pod))
	assert.Equal(t, "modelhub/resnet@"+digest, pod.Annotations[v1alpha1.AnnotationServedImage])
}

// A Workflow that reports another digest proves nothing.
func TestExistingImageOfAnotherDigest(t *testing.T) {
	startOperator(t, shared)
	s := newSandbox(t, shared)
	mv := s.create(nfsVersion, storedImage("sha256:"+strings.Repeat("0", 64)))
	s.argo.completeWorkflow(s.argo.awaitAttempt(mv, 1))
	mv = s.awaitReason(mv.Name, v1alpha1.ReasonReportInvalid)
	assert.Contains(t, mv.Status.Message, "its report says that the tag holds "+digest)
	assert.Empty(t, mv.Status.Digest)
}
