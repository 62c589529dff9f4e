package step

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// forEachEngine runs a subtest with a pod whose tag holds an image of each engine.
func forEachEngine(t *testing.T, test func(t *testing.T, p *pod)) {
	t.Helper()
	for engine, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
		t.Run(engine, func(t *testing.T) { test(t, newForgedPod(t, streams)) })
	}
}

// denyPushes makes the registry refuse uploads and manifests.
func (p *pod) denyPushes() {
	inner := p.registry.get()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
}

// A ModelVersion that was deleted is applied again, to this cluster or another: it has
// another UID, and the same name and files.
func TestStepsAdoptImageOfSameName(t *testing.T) {
	forEachEngine(t, func(t *testing.T, p *pod) {
		want := p.report(t).Image
		p.uid = "recreated"
		later := time.Now().Add(time.Hour)
		require.NoError(t, os.Chtimes(p.path("source/w.bin"), later, later))
		p.denyPushes()

		code, printed := p.mountCheck(t)
		require.Equal(t, exitOK, code, printed)
		assert.Contains(t, printed, "adopting the image")
		code, printed = p.build(t)
		require.Equal(t, exitOK, code, printed)
		assert.Contains(t, printed, "nothing to build")
		code, printed = p.statusReport(t)
		require.Equal(t, exitOK, code, printed)

		r := p.report(t)
		assert.True(t, r.Source.AlreadyPushed)
		assert.Equal(t, want, r.Image)
		assert.Equal(t, "recreated", r.Run.ModelVersionUID)

		// The next attempt knows the digest, but the labels still have the other UID.
		p.known = want.Digest
		code, printed = p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, want, p.report(t).Image)
	})
}

func TestStepsAdoptCompressedImage(t *testing.T) {
	p := newStreamingPod(t)
	p.compression = string(v1alpha1.Zstd)
	p.writeModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	want := p.report(t).Image
	p.uid = "recreated"
	code, printed = p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, want, p.report(t).Image)
}

// An image that records modification times is adopted only if they are those of the
// files: later builds may rely on them instead of reading the files.
func TestStepsAdoptImageWithModTimes(t *testing.T) {
	p := newStreamingPod(t)
	p.changeDetection = string(v1alpha1.ChangesInModTime)
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	want := p.report(t).Image
	p.uid = "recreated"
	code, printed = p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, want, p.report(t).Image)

	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(p.path("source/w.bin"), later, later))
	code, printed = p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, "it records other modification times than those of the files", code, printed)
}

// Layers of a model with many layers, unusual names, modes and links.
func TestStepsAdoptImageOfKaniko(t *testing.T) {
	p := newPod(t)
	p.writeModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	want := p.report(t).Image
	p.recreate(t)
	p.uid = "recreated"
	code, printed = p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, want, p.report(t).Image)
}

// Kaniko keeps what the base image has at the place of the link for KServe.
func TestStepsAdoptImageWithoutLink(t *testing.T) {
	p := newPod(t)
	p.base = p.host + "/base/models:1"
	p.push(t, baseOf(t, file("models/own", "x")), p.base)
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.recreate(t)
	p.uid = "recreated"
	code, printed = p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.True(t, p.report(t).Source.AlreadyPushed)
}

// The base image has a file in the model's directory. The layers of Kaniko would not
// hide it, so Kaniko refuses to build, and an image that is put together is refused.
func TestMountCheckRejectsFilesOfBaseImage(t *testing.T) {
	p := newForgedPod(t, false)
	forged := p.takeApart(t)
	base := baseOf(t, file("kubedl-model/x", "evil"))
	layers, err := base.Layers()
	require.NoError(t, err)
	forged.base = layers
	digest, err := base.Digest()
	require.NoError(t, err)
	forged.config.Config.Labels["org.opencontainers.image.base.digest"] = digest.String()
	forged.config.Config.Env, forged.config.Config.User = []string{"KUBEDL_MODEL_PATH=/kubedl-model"}, ""
	p.push(t, base, p.base)
	p.push(t, forged.image(t), p.image())

	code, printed := p.mountCheck(t)

	p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, "its base image has files at /kubedl-model", code, printed)
}

func TestMountCheckAdoptsNothingElse(t *testing.T) {
	holder := `already holds an image with the labels of ModelVersion "resnet-v1" of Model "resnet", UID "` + versionUID + `"`
	tests := map[string]struct {
		change func(t *testing.T, p *pod)
		args   []string
		want   string
	}{
		"other files": {
			change: func(t *testing.T, p *pod) { p.write(t, "source/w.bin", "WEIGHTS") }, want: "its files are not those of the model: ",
		},
		"one more file": {
			change: func(t *testing.T, p *pod) { p.write(t, "source/x", "") }, want: `its files are not those of the model: "x" was`,
		},
		"another ModelVersion": {args: []string{"--model-version=resnet-v2"}, want: holder + ";"},
		"another Model":        {args: []string{"--model=bert"}, want: holder + ";"},
		"no ModelVersion":      {change: func(_ *testing.T, p *pod) { p.uid = "" }, want: holder + ";"},
		"another base image": {
			change: func(t *testing.T, p *pod) { p.push(t, baseOf(t, file("bin/sh", "new")), p.base) }, want: "it has other layers than the base image",
		},
		"another name of the base image": {
			change: func(t *testing.T, p *pod) {
				image := p.byReference(t, p.base)
				p.base = p.host + "/base/other:1"
				p.push(t, image, p.base)
			}, want: "its label org.opencontainers.image.base.name is",
		},
	}
	forEachEngine(t, func(t *testing.T, p *pod) {
		base, honest := p.base, p.byReference(t, p.base)
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				p.uid, p.base = "recreated", base
				p.push(t, honest, base)
				require.NoError(t, os.RemoveAll(p.path("source/x")))
				p.write(t, "source/w.bin", "weights")
				if tt.change != nil {
					tt.change(t, p)
				}
				code, printed := p.mountCheck(t, tt.args...)
				p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, tt.want, code, printed)
				assert.Contains(t, p.report(t).Failure.Message, holder)
				assert.Contains(t, p.report(t).Failure.Message, "choose another imageTag or, if nobody needs that image, delete it with crane delete "+p.image())
			})
		}
	})
}

// byReference returns an image of the registry.
func (p *pod) byReference(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	image, err := remote.Image(ref)
	require.NoError(t, err)
	return image
}

// layerCounter counts the layers that are downloaded.
type layerCounter struct {
	mu     sync.Mutex
	blobs  map[string]bool
	number int
}

func (c *layerCounter) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number
}

func (c *layerCounter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number = 0
}

// countLayers counts the downloads of the layers that the image at the tag has now.
func (p *pod) countLayers(t *testing.T) *layerCounter {
	t.Helper()
	manifest, err := p.pull(t).Manifest()
	require.NoError(t, err)
	counter := &layerCounter{blobs: map[string]bool{}}
	for _, l := range manifest.Layers {
		counter.blobs[l.Digest.String()] = true
	}
	inner := p.registry.get()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && counter.blobs[path.Base(r.URL.Path)] {
			counter.mu.Lock()
			counter.number++
			counter.mu.Unlock()
		}
		inner.ServeHTTP(w, r)
	}))
	return counter
}

// The digest that an earlier attempt reported identifies the image, even if its base
// image cannot be resolved any more.
func TestMountCheckKnownDigest(t *testing.T) {
	forEachEngine(t, func(t *testing.T, p *pod) {
		want := p.report(t).Image
		downloaded := p.countLayers(t)
		p.base = p.host + "/base/none:1"
		code, printed := p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, "does not exist in its registry", code, printed)

		p.known = want.Digest
		downloaded.reset()
		code, printed = p.mountCheck(t)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, 1, downloaded.get(), "only the layer with the manifest of files is downloaded")
		code, printed = p.statusReport(t)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, want, p.report(t).Image)

		p.write(t, "source/w.bin", "WEIGHTS")
		code, printed = p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, "its files have changed since", code, printed)

		p.known = "sha256:" + strings.Repeat("0", 64)
		p.write(t, "source/w.bin", "weights")
		code, printed = p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, "does not exist in its registry", code, printed)
	})
}

// deleteManifest deletes what a tag or a digest refers to.
func (p *pod) deleteManifest(t *testing.T, reference string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+p.host+"/v2/"+p.repo+"/manifests/"+reference, http.NoBody)
	response := httptest.NewRecorder()
	p.registry.get().ServeHTTP(response, req)
	require.Equal(t, http.StatusAccepted, response.Code, response.Body)
}

// A registry can lose the image that an earlier attempt has pushed, or only its tag.
func TestMountCheckLostImage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, p *pod) {
		want := p.report(t).Image
		p.known = want.Digest
		p.deleteManifest(t, p.tag)
		code, printed := p.mountCheck(t)
		require.Equal(t, exitOK, code, printed)
		assert.Contains(t, printed, "was deleted, and refers to the image "+want.Digest+" again")
		assert.False(t, p.report(t).ImageLost)
		code, printed = p.statusReport(t)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, want, p.report(t).Image)

		p.deleteManifest(t, p.tag)
		p.deleteManifest(t, want.Digest)
		code, printed = p.mountCheck(t)
		require.Equal(t, exitOK, code, printed)
		assert.Contains(t, printed, "the registry no longer has")
		assert.True(t, p.report(t).ImageLost)
		assert.False(t, p.report(t).Source.AlreadyPushed)

		require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "source")))
		code, printed = p.mountCheck(t)
		assert.NotEqual(t, exitOK, code, printed)
		assert.True(t, p.report(t).ImageLost, "the report says so even if the model is gone too")

		p.known = "latest\x1b[2J"
		code, printed = p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, "is not a digest", code, printed)
	})
}

// An image of Stream is proved without downloading the model.
func TestMountCheckDownloadsNoStreamedLayer(t *testing.T) {
	p := newForgedPod(t, true)
	downloaded := p.countLayers(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, 3, downloaded.get(), "the layer with the manifest of files, once for its content and once for what is beside it, and that of the base image")
}
