package step

import (
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

func newStreamingPod(t *testing.T) *pod {
	t.Helper()
	p := newPod(t)
	p.streams, p.compression = true, "None"
	return p
}

func newStreamedPod(t *testing.T) *pod {
	t.Helper()
	p := newStreamingPod(t)
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	return p
}

func TestStream(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	p.base = p.host + "/base/nonroot:1"
	p.push(t, configured(t, randomImage(t), v1.Config{User: "nonroot", Env: []string{"PATH=/bin"}}), p.base)

	code, printed := p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	r := p.report(t)
	assert.Nil(t, r.Failure)
	assert.Equal(t, 5, r.Image.Layers)
	assert.Zero(t, r.Build.ReusedBytes)
	assert.Greater(t, r.Build.SentBytes, r.Source.Bytes)
	image := p.pull(t)
	digest, err := image.Digest()
	require.NoError(t, err)
	assert.Equal(t, digest.String(), r.Image.Digest)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, []string{"PATH=/bin", "KUBEDL_MODEL_PATH=/kubedl-model"}, config.Config.Env)
	assert.Equal(t, "nonroot", config.Config.User)
	assert.Equal(t, `Ann O'Hara "$HOME"`, config.Config.Labels["org.opencontainers.image.authors"])
	assert.Equal(t, versionUID, config.Config.Labels[v1alpha1.LabelModelVersionUID])
	p.assertHoldsSource(t, image)
}

func TestStreamZstd(t *testing.T) {
	p := newStreamingPod(t)
	p.compression = "Zstd"
	p.writeModel(t)

	code, printed := p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	r := p.report(t)
	assert.Less(t, r.Image.Bytes, r.Source.Bytes/100, "the large files compress well")
	assert.Less(t, r.Build.SentBytes, r.Image.Bytes)
	image := p.pull(t)
	manifest, err := image.Manifest()
	require.NoError(t, err)
	assert.Equal(t, types.OCILayerZStd, manifest.Layers[0].MediaType)
	p.assertHoldsSource(t, image)

	// Compressed layers are reused even if the next build does not compress.
	p.previous, p.tag, p.uid, p.compression = p.byDigest(t), "v2", "another", "None"
	code, printed = p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	again := p.report(t)
	assert.Zero(t, again.Build.SentBytes)
	assert.Equal(t, r.Build.SentBytes, again.Build.ReusedBytes)
	p.assertHoldsSource(t, p.pull(t))
}

// The files were written at another time, in another order.
func TestStreamIsReproducible(t *testing.T) {
	var digests []string
	for i := range 2 {
		p := newStreamingPod(t)
		names := []string{"source/a", "source/b/c", "source/z"}
		if i > 0 {
			slices.Reverse(names)
		}
		for _, name := range names {
			p.write(t, name, "content of "+name)
			at := time.Now().Add(-time.Duration(i) * time.Hour)
			require.NoError(t, os.Chtimes(p.path(name), at, at))
		}
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		digests = append(digests, p.report(t).Image.Digest)
	}
	assert.Equal(t, digests[0], digests[1])
}

func TestStreamOfPushedVersion(t *testing.T) {
	p := newStreamedPod(t)
	want := p.report(t).Image
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(p.path("source/w.bin"), later, later))

	code, printed := p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "the registry returns")
	r := p.report(t)
	assert.True(t, r.Source.AlreadyPushed)
	assert.Equal(t, want, r.Image)
}

func TestMountCheckRejectsChangedFilesOfStreamedImage(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, p *pod)
		want   string
	}{
		"other content of the same size": {change: func(t *testing.T, p *pod) { p.write(t, "source/w.bin", "WEIGHTS") }, want: `since ("config.json", or another of the 2 files in its layer, was changed`},
		"one more file":                  {change: func(t *testing.T, p *pod) { p.write(t, "source/x", "") }, want: `since ("x" `},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			p := newStreamedPod(t)
			p.known = p.digest(t)
			tt.change(t, p)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, tt.want, code, printed)
		})
	}
}

func TestMountCheckNamesChangedLargeFile(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.write(t, "source/weights-1.bin", "other weights")
	require.NoError(t, os.Truncate(p.path("source/weights-1.bin"), layerSize+1))
	code, printed = p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, `since ("weights-1.bin" was changed`, code, printed)
}

func TestStreamOfChangingSource(t *testing.T) {
	changes := map[string]func(t *testing.T, p *pod){
		"it grows":        func(t *testing.T, p *pod) { p.writeSized(t, "source/w.bin", "weights", 20<<20) },
		"it shrinks":      func(t *testing.T, p *pod) { require.NoError(t, os.Truncate(p.path("source/w.bin"), 5<<20)) },
		"it is removed":   func(t *testing.T, p *pod) { require.NoError(t, os.Remove(p.path("source/w.bin"))) },
		"a file is added": func(t *testing.T, p *pod) { p.write(t, "source/late", "") },
		"a link leads elsewhere": func(t *testing.T, p *pod) {
			require.NoError(t, os.Remove(p.path("source/link")))
			require.NoError(t, os.Symlink("config.json", p.path("source/link")))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.writeSized(t, "source/w.bin", "weights", 10<<20)
			p.write(t, "source/config.json", "{}")
			require.NoError(t, os.Symlink("w.bin", p.path("source/link")))
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			inner := p.registry.get()
			once := sync.OnceFunc(func() { change(t, p) })
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					once()
				}
				inner.ServeHTTP(w, r)
			}))

			code, printed = p.build(t)

			p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, "while", code, printed)
			resp, err := http.Get("http://" + p.host + "/v2/models/resnet/manifests/v1")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, http.StatusNotFound, resp.StatusCode)
		})
	}
}

func TestStreamToFullRegistry(t *testing.T) {
	p := newStreamingPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	inner := p.registry.get()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonRegistryFull, "(507 Insufficient Storage)", code, printed)
}

func TestStreamOnImageOfAnotherModel(t *testing.T) {
	first := newStreamedPod(t)
	p := newStreamingPod(t)
	p.base = p.host + "/base/model:1"
	p.push(t, first.pull(t), p.base)
	p.write(t, "source/other", "x")

	code, printed := p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	image := p.pull(t)
	layers, err := image.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 4)
	content, err := layers[2].Uncompressed()
	require.NoError(t, err)
	raw, err := io.ReadAll(content)
	require.NoError(t, err)
	assert.Contains(t, string(raw), "kubedl-model/.wh..wh..opq", "the base image's model is hidden")
	manifest, err := modelimage.ReadManifest(image)
	require.NoError(t, err)
	assert.Len(t, manifest.Entries, 2)
}

func TestStreamExpectsPlannedLayers(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	built := p.expectedLayers(t)
	for i := range built {
		built[i].DiffID = ""
	}
	assert.Equal(t, []layer.BuiltLayer{
		{Files: 6, Bytes: 2 + 2 + 3 + 4 + 10 + 10},
		{Files: 1, Bytes: layerSize},
		{Files: 1, Bytes: layerSize + 1},
	}, built)
}
