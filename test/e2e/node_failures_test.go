//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// This test runs alone: no other test would get a pod.
func TestNodeCordoned(t *testing.T) {
	ns := live.namespace(t)
	dir := model(t)
	after(t, func(ctx context.Context) {
		_, err := try(ctx, "kubectl", "uncordon", nodeName)
		assert.NoError(t, err)
	})
	run(t, "kubectl", "cordon", nodeName)

	mv := live.waits(t, makeVersion("patient", ns, dir).New(), v1alpha1.ReasonUnschedulable)

	assert.Equal(t, metav1.ConditionUnknown, conditionReady(mv).Status)
	assert.Contains(t, mv.Status.Message, "1 node(s) were unschedulable")
	run(t, "kubectl", "uncordon", nodeName)
	mv = live.ready(t, mv)
	assertImage(t, mv, dir)
	assert.Equal(t, int64(1), mv.Status.Attempts)
}

func TestEvicted(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	// Kubelet checks every ten seconds. Packaging this takes longer.
	dir.sparse(t, "weights.bin", 4<<30)

	mv, took := live.failed(t, makeVersion("wide", ns, dir).Limit(corev1.ResourceEphemeralStorage, "200Mi").New())

	assertFailed(t, mv, v1alpha1.ReasonEvicted, "Pod ephemeral local storage usage exceeds")
	assert.Contains(t, mv.Status.Message, "ephemeral-storage")
	logNoticed(t, mv, took)
	// This is still more than the old limit.
	dir.sparse(t, "weights.bin", 512<<20)
	runEdit(t, mv.Status.Message, "s/200Mi/8Gi/")
	assertImage(t, live.readyAgain(t, mv), dir)
}

// sparse creates a file of zeros that takes no space on the disk, and that a
// build takes long to read, copy and compress.
func (f directory) sparse(t *testing.T, name string, size int64) {
	t.Helper()
	f.write(t, name, "")
	require.NoError(t, os.Truncate(f.at(name), size))
}

func TestDeadlineExceeded(t *testing.T) {
	t.Parallel()
	// Argo notices the one, kubelet the other.
	tests := map[string]int64{"before its pod has started": 1, "while it copies the model": 6}
	for name, deadline := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			dir.sparse(t, "weights.bin", 1<<30)

			mv, took := live.failed(t, makeVersion("slow", ns, dir).Deadline(deadline).New())

			assertFailed(t, mv, v1alpha1.ReasonDeadlineExceeded, "spec.build.deadlineSeconds")
			logNoticed(t, mv, took)
			runEdit(t, mv.Status.Message, fmt.Sprintf("'s/deadlineSeconds: %d$/deadlineSeconds: 600/'", deadline))
			assertImage(t, live.readyAgain(t, mv), dir)
		})
	}
}
