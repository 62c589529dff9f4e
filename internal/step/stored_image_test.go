package step

import (
	"archive/tar"
	"net/http"
	"path"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
)

const zeroDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// storesImage makes the image at the tag the storage of the next steps, whose
// credentials can only pull.
func (p *pod) storesImage(t *testing.T) {
	t.Helper()
	p.storage = []string{"--storage-kind=image", "--image-digest=" + p.digest(t)}
	p.uid = "of-another-cluster"
	p.denyPushes()
}

// assertCertified runs the steps on the image at the tag, and returns the report.
func (p *pod) assertCertified(t *testing.T) report.Report {
	t.Helper()
	want := p.digest(t)
	p.storesImage(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	code, printed = p.build(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "nothing to build: the registry already holds the image")
	code, printed = p.statusReport(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "verified, already in the registry: "+p.image()+"@"+want)
	got := p.report(t)
	assert.Equal(t, want, got.Image.Digest)
	assert.Equal(t, p.image(), got.Image.Reference)
	assert.Equal(t, want, p.digest(t), "the tag is as it was")
	assert.Nil(t, got.Build)
	return got
}

// layersOf returns an image whose layers have these entries, from the lowest one.
func layersOf(t *testing.T, archives ...[]tarEntry) v1.Image {
	t.Helper()
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, entries := range archives {
		var err error
		image, err = mutate.AppendLayers(image, archiveOf(t, entries...))
		require.NoError(t, err)
	}
	return image
}

func directory(name string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

func TestStoredImageOfAnotherCluster(t *testing.T) {
	forEachEngine(t, func(t *testing.T, p *pod) {
		downloaded := p.countLayers(t)
		got := p.assertCertified(t)
		assert.Equal(t, report.Source{Files: 2, Bytes: 9, Layers: 1, AlreadyPushed: true}, *got.Source)
		assert.Equal(t, 2, downloaded.get(), "only the layer with the list of files is downloaded, to see whether it is one and to read it")
	})
}

func TestStoredImageForEveryPlatform(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		got := p.assertCertified(t)
		assert.Equal(t, int64(2), got.Source.Files)
		assert.Equal(t, 3, got.Image.Layers)
	})
}

func TestStoredImageModelPath(t *testing.T) {
	p := newPod(t)
	p.streams, p.compression, p.modelPath = true, string(v1alpha1.NoCompression), "/models"
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)

	t.Run("is the image's", func(t *testing.T) {
		got := p.assertCertified(t)
		assert.Equal(t, "/models", got.Image.ModelPath)
	})
	t.Run("is another one", func(t *testing.T) {
		p.modelPath = ""
		code, printed := p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceMissing, `the image has the model in "/models" and not in /kubedl-model: create a new ModelVersion with that directory in spec.build.modelPath`, code, printed)
	})
}

// Images that other programs have pushed have no list of their files.
func TestStoredImageOfOtherPrograms(t *testing.T) {
	weights := file("kubedl-model/w.bin", "weights")
	for name, tt := range map[string]struct {
		image     v1.Image
		modelPath string
		layers    int
	}{
		"the model in the last layer": {image: layersOf(t, []tarEntry{file("bin/sh", "x")}, []tarEntry{directory("kubedl-model/"), weights}), layers: 2},
		"the model in a lower layer":  {image: layersOf(t, []tarEntry{weights}, []tarEntry{file("etc/passwd", "")}), layers: 2},
		"names with dots":             {image: layersOf(t, []tarEntry{file("./kubedl-model/w.bin", "weights")}), layers: 1},
		"a removed file beside it":    {image: layersOf(t, []tarEntry{weights, file("kubedl-model/x", "")}, []tarEntry{file("kubedl-model/.wh.x", "")}), layers: 2},
		"another modelPath":           {image: layersOf(t, []tarEntry{file("opt/llm/w.bin", "weights")}), modelPath: "/opt/llm", layers: 1},
		"a layer above the image of a build, which has its list below": {
			image: layersOf(t, []tarEntry{weights}, []tarEntry{directory(".modelkiln"), file(".modelkiln/manifest.json", "{}")}, []tarEntry{file("app", "x")}), layers: 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.modelPath = tt.modelPath
			p.push(t, tt.image, p.image())
			got := p.assertCertified(t)
			assert.Equal(t, report.Source{AlreadyPushed: true}, *got.Source, "the number of files is not known")
			assert.Equal(t, tt.layers, got.Image.Layers)
		})
	}
}

// The index of docker buildx has attestations, and an image for a platform that
// Modelkiln builds nothing for.
func TestStoredImageIndexOfOtherPrograms(t *testing.T) {
	p := newPod(t)
	model := file("kubedl-model/w.bin", "weights")
	unknown, power := v1.Platform{OS: "unknown", Architecture: "unknown"}, v1.Platform{OS: "linux", Architecture: "ppc64le"}
	p.pushIndex(t, p.image(),
		[]v1.Image{baseFor(t, amd64, model), baseFor(t, arm64, model), baseFor(t, power, file("x", "")), randomImage(t)},
		[]*v1.Platform{&amd64, &arm64, &power, &unknown})
	p.assertCertified(t)
}

func TestStoredImageRejected(t *testing.T) {
	weights := file("kubedl-model/w.bin", "weights")
	for name, tt := range map[string]struct {
		push   func(t *testing.T, p *pod)
		reason string
		want   string
	}{
		"no model": {
			push:   func(t *testing.T, p *pod) { p.push(t, baseOf(t, file("bin/sh", "x")), p.image()) },
			reason: v1alpha1.ReasonSourceMissing, want: `the image has no file in /kubedl-model (platform "linux/amd64"), so it is not the image of a model`,
		},
		"an empty directory": {
			push:   func(t *testing.T, p *pod) { p.push(t, layersOf(t, []tarEntry{directory("kubedl-model/")}), p.image()) },
			reason: v1alpha1.ReasonSourceMissing, want: "has no file in /kubedl-model",
		},
		"a model that a later layer removes": {
			push: func(t *testing.T, p *pod) {
				p.push(t, layersOf(t, []tarEntry{weights}, []tarEntry{file(".wh.kubedl-model", "")}), p.image())
			},
			reason: v1alpha1.ReasonSourceMissing, want: "has no file in /kubedl-model",
		},
		"a link in the place of the directory": {
			push: func(t *testing.T, p *pod) {
				link := tarEntry{tar.Header{Name: "kubedl-model", Typeflag: tar.TypeSymlink, Linkname: "models"}, ""}
				p.push(t, layersOf(t, []tarEntry{link, file("models/w.bin", "weights")}), p.image())
			},
			reason: v1alpha1.ReasonSourceMissing, want: "If the model is in another directory, create a new ModelVersion with that in spec.build.modelPath",
		},
		"a model for one platform only": {
			push: func(t *testing.T, p *pod) {
				p.pushIndex(t, p.image(), []v1.Image{baseFor(t, amd64, weights), baseFor(t, arm64, file("x", ""))}, []*v1.Platform{&amd64, &arm64})
			},
			reason: v1alpha1.ReasonSourceMissing, want: `(platform "linux/arm64")`,
		},
		"no layers": {
			push:   func(t *testing.T, p *pod) { p.push(t, layersOf(t), p.image()) },
			reason: v1alpha1.ReasonSourceMissing, want: "has no file in /kubedl-model",
		},
		"an artifact": {
			push: func(t *testing.T, p *pod) {
				p.push(t, mutate.ConfigMediaType(randomImage(t), "application/vnd.cncf.model.config.v1+json"), p.image())
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: `it is an artifact of the type "application/vnd.cncf.model.config.v1+json". Push the image of a model`,
		},
		"an index for other platforms": {
			push: func(t *testing.T, p *pod) {
				windows := v1.Platform{OS: "windows", Architecture: "amd64"}
				p.pushIndex(t, p.image(), []v1.Image{randomImage(t)}, []*v1.Platform{&windows})
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: `its index has images for "windows/amd64"`,
		},
		"a layer that is not an archive": {
			push: func(t *testing.T, p *pod) {
				image, err := mutate.AppendLayers(empty.Image, notAnArchive())
				require.NoError(t, err)
				p.push(t, image, p.image())
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: "a layer cannot be read",
		},
		"a config that cannot be decoded": {
			push:   func(t *testing.T, p *pod) { p.push(t, rawConfig{randomImage(t), "{"}, p.image()) },
			reason: v1alpha1.ReasonSourceUnsafe, want: "the image is not one that can be served",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			tt.push(t, p)
			p.storesImage(t)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

// An image with a list of files that is not the one of its layers.
func TestStoredImageWithOtherLayers(t *testing.T) {
	forEachEngine(t, func(t *testing.T, p *pod) {
		forged := p.takeApart(t)
		forged.below = []v1.Layer{archiveOf(t, file("kubedl-model/w.bin", "hostile"))}
		forged.model = nil
		p.push(t, forged.image(t), p.image())
		p.storesImage(t)
		code, printed := p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceIncomplete, "the list of files in the image does not agree with its layers: a layer is not one of the model's", code, printed)
	})
}

func TestStoredImageTag(t *testing.T) {
	for name, tt := range map[string]struct {
		// change changes the registry after the version has named the digest.
		change func(t *testing.T, p *pod)
		known  bool
		reason string
		want   string
		lost   bool
	}{
		"no image": {
			change: func(t *testing.T, p *pod) { p.deleteManifest(t, p.digest(t)); p.deleteManifest(t, p.tag) },
			reason: v1alpha1.ReasonSourceMissing, want: "the registry has no image 127.0.0.1",
		},
		"no image any more": {
			change: func(t *testing.T, p *pod) { p.deleteManifest(t, p.digest(t)); p.deleteManifest(t, p.tag) },
			known:  true, lost: true,
			reason: v1alpha1.ReasonSourceMissing, want: "the registry has no image 127.0.0.1",
		},
		"no tag": {
			change: func(t *testing.T, p *pod) { p.deleteManifest(t, p.tag) },
			known:  true,
			reason: v1alpha1.ReasonSourceMissing, want: "the registry has the image, but no tag v1: have the tag refer to it with crane tag 127.0.0.1",
		},
		"another image": {
			change: func(t *testing.T, p *pod) { p.push(t, randomImage(t), p.image()) },
			known:  true,
			reason: v1alpha1.ReasonTagMoved, want: "and not the digest in spec.storage.image: create a new ModelVersion with the digest of the tag, or have the tag refer to the image again with crane tag 127.0.0.1",
		},
		"another image, and the image is lost": {
			change: func(t *testing.T, p *pod) { p.deleteManifest(t, p.digest(t)); p.push(t, randomImage(t), p.image()) },
			known:  true, lost: true,
			reason: v1alpha1.ReasonTagMoved, want: "and the registry does not have the digest in spec.storage.image",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newBuiltPod(t)
			before := p.registry.get()
			p.storesImage(t)
			if tt.known {
				p.known = p.digest(t)
			}
			p.registry.set(before)
			tt.change(t, p)
			p.denyPushes()
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
			assert.Equal(t, tt.lost, p.report(t).ImageLost)
		})
	}
	t.Run("a digest that is none", func(t *testing.T) {
		p := newPod(t)
		p.storage = []string{"--storage-kind=image", "--image-digest=v1"}
		code, printed := p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, `the image digest "v1" is not a digest`, code, printed)
	})
	t.Run("a registry that does not respond", func(t *testing.T) {
		p := newPod(t)
		p.storage = []string{"--storage-kind=image", "--image-digest=" + zeroDigest}
		p.registry.set(http.NotFoundHandler())
		code, _ := p.mountCheck(t)
		require.Equal(t, exitFailed, code)
		assert.Equal(t, v1alpha1.ReasonRegistryUnreachable, p.report(t).Failure.Reason)
	})
}

// status-report certifies only what the registry has as a whole.
func TestStoredImageVerification(t *testing.T) {
	p := newBuiltPod(t)
	manifest, err := p.pull(t).Manifest()
	require.NoError(t, err)
	p.storesImage(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	inner := p.registry.get()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Base(r.URL.Path) == manifest.Layers[0].Digest.String() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	code, printed = p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, "the registry lacks the layer", code, printed)
}

// notAnArchive returns a layer whose content is no archive.
func notAnArchive() v1.Layer {
	return static.NewLayer([]byte(strings.Repeat("x", 1024)), types.OCIUncompressedLayer)
}
