//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// An image that another namespace has packaged becomes a ModelVersion, of both engines'
// templates. Its pods serve it, and nothing is pushed.
func TestExistingImage(t *testing.T) {
	t.Parallel()
	from, ns := live.namespace(t), live.namespace(t)
	dir := model(t)
	packaged := live.built(t, makeVersion("packaged", from, dir).Model("packaged").ImageTag("v1").New())
	repo, _, _ := strings.Cut(packaged.Status.Image, ":v1")
	version := func(name, tag, digest string, engine v1alpha1.BuildEngine) *v1alpha1.ModelVersion {
		return builders.MakeModelVersion(name, ns).Model("imported").ImageRepo(repo).ExistingImage(tag, digest).Engine(engine).New()
	}

	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		t.Run(string(engine), func(t *testing.T) {
			mv := live.built(t, version("imported-"+strings.ToLower(string(engine)), "v1", packaged.Status.Digest, engine))
			assert.Equal(t, packaged.Status.Digest, mv.Status.Digest)
			assert.Equal(t, packaged.Status.Files, mv.Status.Files)
			assert.Zero(t, mv.Status.SentBytes)
			assert.Equal(t, "Image "+mv.Status.Image+" was verified in the registry", mv.Status.Message)
			live.latest(t, mv)

			pod := serverPod(ns, "serves-"+strings.ToLower(string(engine)))
			pod.Labels[v1alpha1.LabelServeVersion] = mv.Name
			live.create(t, pod)
			pod = live.runs(t, pod)
			assert.Equal(t, sumsOf(t, dir), live.sumsIn(t, pod))
		})
	}
	assert.Equal(t, packaged.Status.Digest, content.Digest(t, packaged.Status.Image), "the tag is as it was")

	other := "sha256:" + strings.Repeat("0", 64)
	moved, _ := live.failed(t, version("moved", "v1", other, v1alpha1.Stream))
	assertFailed(t, moved, v1alpha1.ReasonTagMoved, packaged.Status.Digest)
	missing, _ := live.failed(t, version("missing", "v2", packaged.Status.Digest, v1alpha1.Stream))
	assertFailed(t, missing, v1alpha1.ReasonSourceMissing, "crane tag")
}
