//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestStream(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	dir.sparse(t, "weights.bin", 70<<20)
	require.NoError(t, os.Symlink("weights.bin", dir.at("latest.bin")))
	require.NoError(t, os.Mkdir(dir.at("empty"), 0o755))

	mv := live.built(t, makeVersion("streamed", ns, dir).Engine(v1alpha1.Stream).Compression(v1alpha1.Zstd).New())

	img := assertImage(t, mv, dir)
	assert.Equal(t, "streamed", img.Config.Labels[v1alpha1.LabelModelVersion])
	assert.Equal(t, contract.StreamTemplate, live.workflow(t, mv).Spec.WorkflowTemplateRef.Name)
	assert.Less(t, mv.Status.SentBytes, mv.Status.SizeBytes/2)
	assert.Zero(t, mv.Status.ReusedBytes)
	log := live.logOf(t, ns, corev1.PodSpec{Containers: []corev1.Container{{
		Name: "loads", Image: mv.Status.Image,
		Command: []string{"/bin/sh", "-c", "mkdir /loaded && cp -r /kubedl-model/* /loaded && ls /loaded && wc -c < /loaded/latest.bin"},
	}}})
	assert.Contains(t, log, "empty\nlatest.bin\n")
	assert.Contains(t, log, fmt.Sprint(70<<20))
}

func TestStreamReuse(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	const large = 70 << 20
	first := newDirectory(t)
	first.random(t, "embeddings.bin", large)
	first.random(t, "weights.bin", large)
	first.write(t, "config.json", "{}")
	built := live.built(t, makeVersion("v1", ns, first).Engine(v1alpha1.Stream).New())
	live.latest(t, built)

	// A copy of the files, as the next training leaves it, with one other file.
	second := newDirectory(t)
	require.NoError(t, os.CopyFS(string(second), os.DirFS(string(first))))
	require.NoError(t, os.Remove(second.at("weights.bin")))
	second.random(t, "weights.bin", large)
	began := time.Now()
	next := live.built(t, makeVersion("v2", ns, second).Engine(v1alpha1.Stream).New())

	t.Logf("figure: one of two files changed: %.1f s from apply to Ready", time.Since(began).Seconds())
	assertImage(t, next, second)
	assert.InDelta(t, large, next.Status.SentBytes, 100_000)
	assert.InDelta(t, large, next.Status.ReusedBytes, 100_000)
}

// restrictedNamespace creates a namespace that admits pods of the Pod Security
// Standard level restricted and no others.
func (c *cluster) restrictedNamespace(t *testing.T) string {
	t.Helper()
	ns := c.namespace(t)
	run(t, "kubectl", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
	return ns
}

func TestStreamRestricted(t *testing.T) {
	t.Parallel()
	ns := live.restrictedNamespace(t)
	disk := newDirectory(t)
	disk.write(t, "runs/7/config.json", "{}")
	disk.random(t, "runs/7/weights.bin", 1<<20)
	live.claimOf(t, ns, "training-output", disk)
	version := makeVersion("restricted", ns, "").Claim("training-output", "runs/7").Engine(v1alpha1.Stream).New()
	version.Spec.Storage.LocalStorage = nil

	assertImage(t, live.built(t, version), directory(disk.at("runs/7")))
}

func TestStreamSourceUnreadable(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	dir.write(t, "private.bin", "weights")
	require.NoError(t, os.Chmod(dir.at("private.bin"), 0o600))

	mv, took := live.failed(t, makeVersion("private", ns, dir).Engine(v1alpha1.Stream).New())

	assertFailed(t, mv, v1alpha1.ReasonSourceUnreadable, `"private.bin"`)
	assert.Contains(t, mv.Status.Message, "engine Kaniko")
	logNoticed(t, mv, took)
	run(t, "kubectl", "patch", "mv", mv.Name, "-n", ns, "--type=merge", "-p", `{"spec":{"build":{"engine":"Kaniko"}}}`)
	assertImage(t, live.readyAgain(t, mv), dir)
}
