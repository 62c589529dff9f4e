package step

import (
	"archive/tar"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
)

// baseFor returns a base image for a platform.
func baseFor(t *testing.T, platform v1.Platform, entries ...tarEntry) v1.Image {
	t.Helper()
	image := configured(t, baseOf(t, entries...), v1.Config{Env: []string{"PATH=/bin"}})
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.Architecture, config.Variant = platform.Architecture, platform.Variant
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	return image
}

// newIndexPod returns a pod whose base image has both platforms, and whose steps have
// built a small model.
func newIndexPod(t *testing.T, streams bool) *pod {
	t.Helper()
	p := newPod(t)
	p.streams = streams
	if streams {
		p.compression = string(v1alpha1.NoCompression)
	}
	p.created = "2026-01-31T12:00:00Z"
	p.base = p.host + "/base/multi:1"
	p.pushIndex(t, p.base,
		[]v1.Image{baseFor(t, arm64, file("bin/sh", "for arm64")), baseFor(t, amd64, file("bin/sh", "for amd64"))},
		[]*v1.Platform{&arm64, &amd64})
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.recreate(t)
	return p
}

// forEachEngineOnIndex runs a subtest with a pod whose tag holds an index of each engine.
func forEachEngineOnIndex(t *testing.T, test func(t *testing.T, p *pod)) {
	t.Helper()
	for engine, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
		t.Run(engine, func(t *testing.T) { test(t, newIndexPod(t, streams)) })
	}
}

// pulled are the images of the index at the tag.
type pulled struct {
	manifest *v1.IndexManifest
	images   []v1.Image
}

func (p *pod) pullIndex(t *testing.T) pulled {
	t.Helper()
	index, err := p.descriptor(t).ImageIndex()
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	all := pulled{manifest: manifest}
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		require.NoError(t, err)
		all.images = append(all.images, image)
	}
	return all
}

func TestBuildForEveryPlatform(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		got := p.pullIndex(t)
		assert.Equal(t, types.OCIImageIndex, got.manifest.MediaType)
		assert.Empty(t, got.manifest.Manifests[0].ArtifactType, "it is an image")
		assert.Equal(t, map[string]string{"org.opencontainers.image.created": "2026-01-31T12:00:00Z"}, got.manifest.Annotations)
		require.Len(t, got.images, 2)
		assert.Equal(t, p.digest(t), p.report(t).Image.Digest)
		assert.Equal(t, 3, p.report(t).Image.Layers)
		var above [][]v1.Descriptor
		for number, platform := range []v1.Platform{amd64, arm64} {
			assert.Equal(t, platform, *got.manifest.Manifests[number].Platform)
			config, err := got.images[number].ConfigFile()
			require.NoError(t, err)
			assert.Equal(t, [2]string{"linux", platform.Architecture}, [2]string{config.OS, config.Architecture})
			assert.Equal(t, time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), config.Created.UTC())
			assert.Equal(t, "2026-01-31T12:00:00Z", config.Config.Labels["org.opencontainers.image.created"])
			assert.Equal(t, []string{"PATH=/bin", "KUBEDL_MODEL_PATH=/kubedl-model"}, config.Config.Env)
			base := p.byReference(t, p.host+"/base/multi@"+config.Config.Labels["org.opencontainers.image.base.digest"])
			baseConfig, err := base.ConfigFile()
			require.NoError(t, err)
			assert.Equal(t, platform.Architecture, baseConfig.Architecture)
			manifest, err := got.images[number].Manifest()
			require.NoError(t, err)
			above = append(above, manifest.Layers[1:])
			p.assertHoldsSource(t, got.images[number])
			assert.Equal(t, "kubedl-model", entriesOf(t, got.images[number])["models"].Linkname)
		}
		assert.Equal(t, above[0], above[1], "the layers of the model are the same")
	})
}

// The base image has one platform, which need not be the node's.
func TestBuildForOnePlatform(t *testing.T) {
	for engine, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
		for _, architecture := range []string{"amd64", "arm64", "s390x"} {
			for _, inIndex := range []bool{false, true} {
				name := engine + ", " + architecture
				if inIndex {
					name += " in an index"
				}
				t.Run(name, func(t *testing.T) {
					p := newPod(t)
					p.streams = streams
					p.base = p.host + "/base/single:1"
					platform := v1.Platform{OS: "linux", Architecture: architecture}
					base := baseFor(t, platform, file("bin/sh", "x"))
					if inIndex {
						p.pushIndex(t, p.base, []v1.Image{base}, []*v1.Platform{&platform})
					} else {
						p.push(t, base, p.base)
					}
					p.write(t, "source/w.bin", "weights")

					code, printed := p.allSteps(t)

					require.Equal(t, exitOK, code, printed)
					require.True(t, p.descriptor(t).MediaType.IsImage())
					config, err := p.pull(t).ConfigFile()
					require.NoError(t, err)
					assert.Equal(t, architecture, config.Architecture)
					p.recreate(t)
					p.uid = "recreated"
					code, printed = p.allSteps(t)
					require.Equal(t, exitOK, code, printed)
					assert.True(t, p.report(t).Source.AlreadyPushed)
				})
			}
		}
	}
}

// The same files give the same digest, at whatever time and from whatever copy.
func TestStreamGivesSameIndex(t *testing.T) {
	first, second := newIndexPod(t, true), newIndexPod(t, true)
	first.base, second.base = "scratch", "scratch"
	for _, p := range []*pod{first, second} {
		p.tag = "v2"
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
	}
	assert.Equal(t, first.digest(t), second.digest(t))
}

// requestLog records the requests that change a registry.
type requestLog struct {
	mu    sync.Mutex
	inner http.Handler
	// puts are the references of manifests, in their order; uploads are the sizes of
	// the bodies that were sent.
	puts    []string
	uploads []int64
}

func (l *requestLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	_, reference, isManifest := strings.Cut(r.URL.Path, "/manifests/")
	if r.Method == http.MethodPut && isManifest {
		l.puts = append(l.puts, reference)
	}
	if r.Method == http.MethodPatch {
		l.uploads = append(l.uploads, r.ContentLength)
	}
	l.mu.Unlock()
	l.inner.ServeHTTP(w, r)
}

func TestBuildPushesTagLast(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		log := &requestLog{inner: p.registry.get()}
		p.registry.set(log)
		p.tag = "v2"
		p.write(t, "source/w.bin", strings.Repeat("other", 200_000))
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		log.mu.Lock()
		defer log.mu.Unlock()
		require.Len(t, log.puts, 3)
		assert.Equal(t, "v2", log.puts[2])
		for _, reference := range log.puts[:2] {
			assert.True(t, strings.HasPrefix(reference, "sha256:"), "no other tag is visible: %s", reference)
		}
		large := slices.DeleteFunc(log.uploads, func(size int64) bool { return size >= 0 && size < 500_000 })
		assert.LessOrEqual(t, len(large), 1, "no byte of the model is sent twice: %v", log.uploads)
	})
}

// A connection that is lost does not start an upload again, with either engine.
func TestBuildResumesUpload(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		p.tag = "v2"
		p.write(t, "source/w.bin", strings.Repeat("other", 200_000))
		inner := p.registry.get()
		var once sync.Once
		var lost atomic.Bool
		p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPatch {
				once.Do(func() { lost.Store(true); panic(http.ErrAbortHandler) })
			}
			inner.ServeHTTP(w, r)
		}))
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		assert.True(t, lost.Load())
		p.assertHoldsSource(t, p.pull(t))
	})
}

// An attempt ends between the images and the tag: the next one completes it.
func TestStepsAfterPushWithoutTag(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		p.tag = "v2"
		inner := p.registry.get()
		p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/v2") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			inner.ServeHTTP(w, r)
		}))
		code, printed := p.allSteps(t)
		p.assertFailed(t, "build", v1alpha1.ReasonRegistryUnauthorized, "(403", code, printed)
		response := httptest.NewRecorder()
		inner.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+p.host+"/v2/"+p.repo+"/manifests/v2", http.NoBody))
		assert.Equal(t, http.StatusNotFound, response.Code, "nothing is visible")

		p.registry.set(inner)
		p.recreate(t)
		code, printed = p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
	})
}

func TestStepsAdoptIndex(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		want := p.report(t).Image
		p.uid, p.created = "recreated", "2026-02-01T00:00:00Z"
		p.denyPushes()
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		assert.True(t, p.report(t).Source.AlreadyPushed)
		assert.Equal(t, want, p.report(t).Image)

		p.known = want.Digest
		downloaded := p.countLayers(t)
		code, printed = p.mountCheck(t)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, 1, downloaded.get(), "the layer with the manifest of files is downloaded once for all platforms")
		code, printed = p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, want, p.report(t).Image)

		p.write(t, "source/w.bin", "WEIGHTS")
		code, printed = p.mountCheck(t)
		p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, "its files have changed since", code, printed)
	})
}

// Earlier versions pushed an image for the platform of the node.
func TestStepsAdoptImageForOnePlatform(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		for number, image := range p.pullIndex(t).images {
			p.push(t, image, p.image())
			digest, err := image.Digest()
			require.NoError(t, err)
			p.uid = "recreated"
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.True(t, p.report(t).Source.AlreadyPushed, number)
			assert.Equal(t, digest.String(), p.report(t).Image.Digest)
		}
	})
}

// Only the tag of an index was deleted.
func TestMountCheckRestoresTagOfIndex(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		p.known = p.digest(t)
		p.deleteManifest(t, p.tag)
		code, printed := p.mountCheck(t)
		require.Equal(t, exitOK, code, printed)
		assert.Contains(t, printed, "refers to the image "+p.known+" again")
		assert.Equal(t, p.known, p.digest(t))
	})
}

// part is one manifest of a forged index.
type part struct {
	v1.Image
	platform *v1.Platform
	edit     func(d *v1.Descriptor)
}

func (p part) Descriptor() (*v1.Descriptor, error) {
	mediaType, err := p.MediaType()
	if err != nil {
		return nil, err
	}
	size, err := p.Size()
	if err != nil {
		return nil, err
	}
	digest, err := p.Digest()
	descriptor := &v1.Descriptor{MediaType: mediaType, Size: size, Digest: digest, Platform: p.platform}
	if p.edit != nil {
		p.edit(descriptor)
	}
	return descriptor, err
}

// indexForgeries change the index of a model in ways that are possible for anyone who can
// push to the repository.
var indexForgeries = map[string]struct {
	change func(t *testing.T, p *pod, parts []part) (changed []part, annotations map[string]string)
	want   string
}{
	"one more image": {
		change: func(t *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			return append(parts, part{Image: randomImage(t), platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}), nil
		},
		want: "already holds something that is not an image that a build pushes",
	},
	"an attestation": {
		change: func(t *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			return append(parts, part{Image: randomImage(t), platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}), nil
		},
		want: "already holds something that is not an image that a build pushes",
	},
	"a hundred images": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			for range 100 {
				parts = append(parts, parts[0])
			}
			return parts, nil
		},
		want: "already holds something that is not an image that a build pushes",
	},
	"one image only": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) { return parts[:1], nil },
		want:   "already holds something that is not an image that a build pushes",
	},
	"no platform": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[1].platform = nil
			return parts, nil
		},
		want: "already holds something that is not an image that a build pushes",
	},
	"the same image twice": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[1].Image = parts[0].Image
			return parts, nil
		},
		want: "it has other layers than the base image",
	},
	"platforms exchanged": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[0].platform, parts[1].platform = parts[1].platform, parts[0].platform
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"another order": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			slices.Reverse(parts)
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"another platform": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[1].platform = &v1.Platform{OS: "linux", Architecture: "mips64"}
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"features of a platform": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[1].platform = &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8", OSFeatures: []string{"x"}}
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"an annotation of the index": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			return parts, map[string]string{"scanned": "true"}
		},
		want: "its index has other content than that of a build",
	},
	"another time of creation": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			return parts, map[string]string{"org.opencontainers.image.created": "2030-01-01T00:00:00Z"}
		},
		want: "its index has other content than that of a build",
	},
	"an annotation of a descriptor": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[0].edit = func(d *v1.Descriptor) { d.Annotations = map[string]string{"scanned": "true"} }
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"an artifact type": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[0].edit = func(d *v1.Descriptor) { d.ArtifactType = "application/vnd.example" }
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"an image in another place": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[0].edit = func(d *v1.Descriptor) { d.URLs = []string{"http://example.com/manifest"} }
			return parts, nil
		},
		want: "its index has other content than that of a build",
	},
	"an Entrypoint for the second platform": {
		change: changeSecond(func(_ *testing.T, f *forgery) { f.config.Config.Entrypoint = []string{"/evil"} }),
		want:   "another Entrypoint than the base image",
	},
	"a label for the second platform": {
		change: changeSecond(func(_ *testing.T, f *forgery) { f.config.Config.Labels["scanned"] = "true" }),
		want:   "it has the label scanned",
	},
	"another creator for the second platform": {
		change: changeSecond(func(_ *testing.T, f *forgery) { f.config.Config.Labels["model.kubedl.io/created-by"] = "mallory" }),
		want:   "its images have different labels model.kubedl.io/created-by",
	},
	"another base image for the second platform": {
		change: changeSecond(func(t *testing.T, f *forgery) { f.base = []v1.Layer{archiveOf(t, file("bin/sh", "evil"))} }),
		want:   "it has other layers than the base image",
	},
	"other weights for the second platform": {
		change: changeSecond(func(t *testing.T, f *forgery) { f.spoilWeights(t) }),
		want:   "its images have different layers of the model",
	},
	"a layer above for the second platform": {
		change: changeSecond(func(t *testing.T, f *forgery) {
			f.above = []v1.Layer{archiveOf(t, file("kubedl-model/w.bin", "hostile"))}
		}),
		want: "lacks the manifest of the model's files",
	},
	"times of other files for the second platform": {
		change: changeSecond(func(_ *testing.T, f *forgery) {
			f.replace = func(_ int, l v1.Layer) mutate.Addendum {
				return mutate.Addendum{Layer: l, Annotations: map[string]string{modelimage.AnnotationStatDigest: "sha256:0"}}
			}
		}),
		want: "its images have different layers of the model",
	},
	"an annotation of the second manifest": {
		change: func(_ *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			parts[1].Image = mutate.Annotations(parts[1].Image, map[string]string{"scanned": "true"}).(v1.Image)
			return parts, nil
		},
		want: `it has the annotation "scanned"`,
	},
	"a second manifest that refers to another": {
		change: func(t *testing.T, _ *pod, parts []part) ([]part, map[string]string) {
			subject, err := partial.Descriptor(parts[0].Image)
			require.NoError(t, err)
			parts[1].Image = mutate.Subject(parts[1].Image, *subject).(v1.Image)
			return parts, nil
		},
		want: "it claims to belong to another image",
	},
	"other weights for both platforms": {
		change: func(t *testing.T, p *pod, parts []part) ([]part, map[string]string) {
			for number := range parts {
				f := p.takeImageApart(t, parts[number].Image)
				f.spoilWeights(t)
				parts[number].Image = annotated(f.image(t))
			}
			return parts, nil
		},
		// An archive of Stream that differs from that of the files can be that of others.
		want: "",
	},
}

// changeSecond changes the image for the second platform.
func changeSecond(change func(t *testing.T, f *forgery)) func(*testing.T, *pod, []part) ([]part, map[string]string) {
	return func(t *testing.T, p *pod, parts []part) ([]part, map[string]string) {
		f := p.takeImageApart(t, parts[1].Image)
		change(t, f)
		parts[1].Image = annotated(f.image(t))
		return parts, nil
	}
}

func annotated(image v1.Image) v1.Image {
	return mutate.Annotations(image, map[string]string{"org.opencontainers.image.created": "2026-01-31T12:00:00Z"}).(v1.Image)
}

// pushParts pushes an index.
func (p *pod) pushParts(t *testing.T, parts []part, annotations map[string]string) {
	t.Helper()
	all := map[string]string{"org.opencontainers.image.created": "2026-01-31T12:00:00Z"}
	maps.Copy(all, annotations)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, part := range parts {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: part})
	}
	ref, err := name.ParseReference(p.image(), name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(ref, mutate.Annotations(index, all).(v1.ImageIndex)))
}

func TestMountCheckRejectsForgedIndex(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		honest := p.pullIndex(t)
		parts := func() []part {
			return []part{{Image: honest.images[0], platform: &amd64}, {Image: honest.images[1], platform: &arm64}}
		}
		for name, tt := range indexForgeries {
			t.Run(name, func(t *testing.T) {
				changed, annotations := tt.change(t, p, parts())
				p.pushParts(t, changed, annotations)
				code, printed := p.mountCheck(t)
				require.Equal(t, exitFailed, code, printed)
				assert.Contains(t, p.report(t).Failure.Message, tt.want)
				assert.Contains(t, []string{v1alpha1.ReasonTagTaken, v1alpha1.ReasonSourceChanged}, p.report(t).Failure.Reason)
			})
		}
		t.Run("accepts the same images, taken apart and put together", func(t *testing.T) {
			p.pushParts(t, parts(), nil)
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.True(t, p.report(t).Source.AlreadyPushed)
			assert.Equal(t, p.digest(t), p.report(t).Image.Digest)
		})
	})
}

// status-report looks at the images for all platforms.
func TestStatusReportDetectsMissingBlobOfSecondPlatform(t *testing.T) {
	forEachEngineOnIndex(t, func(t *testing.T, p *pod) {
		manifest, err := p.pullIndex(t).images[1].Manifest()
		require.NoError(t, err)
		missing := manifest.Layers[0].Digest.String()
		inner := p.registry.get()
		p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/blobs/"+missing) {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			inner.ServeHTTP(w, r)
		}))
		code, printed := p.statusReport(t)
		p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, "the registry lacks the layer "+missing, code, printed)
	})
}

// The layers of an index are reused by the next version.
func TestStreamReusesLayersOfIndex(t *testing.T) {
	p := newIndexPod(t, true)
	p.previous, p.tag = p.byDigest(t), "v2"
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "pushed and verified")
	assert.Zero(t, p.report(t).Build.SentBytes)
	assert.NotZero(t, p.report(t).Build.ReusedBytes)
}

// The layers hold the directory of the model, which modification times do not show.
func TestStreamReusesNoLayersOfAnotherDirectory(t *testing.T) {
	p := newStreamingPod(t)
	p.changeDetection = string(v1alpha1.ChangesInModTime)
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)

	p.previous, p.tag, p.modelPath = p.byDigest(t), "v2", "/models"
	code, printed = p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	code, printed = p.build(t)
	require.Equal(t, exitOK, code, printed)

	assert.Contains(t, printed, "it has the model in another directory")
	assert.Zero(t, p.report(t).Build.ReusedBytes)
	assert.Contains(t, entriesOf(t, p.pull(t)), "models/w.bin")
}

// A base image has files in the model's directory for one platform only, which is not
// the one that Kaniko unpacks.
func TestMountCheckInspectsEveryPlatformOfBaseImage(t *testing.T) {
	p := newIndexPod(t, false)
	p.tag = "v2"
	p.pushIndex(t, p.base,
		[]v1.Image{baseFor(t, amd64, file("bin/sh", "x")), baseFor(t, arm64, file("kubedl-model/x", "evil"))},
		[]*v1.Platform{&amd64, &arm64})
	code, printed := p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, "the base image already has files at /kubedl-model", code, printed)
}

func TestBuildInModelPath(t *testing.T) {
	tests := map[string]struct {
		path  string
		base  []tarEntry
		links map[string]string
	}{
		"KServe's directory":          {path: "/models", links: map[string]string{"kubedl-model": "models"}},
		"a directory in that":         {path: "/models/llm", links: map[string]string{"kubedl-model": "models/llm"}},
		"another directory":           {path: "/opt/llm-1/model", links: map[string]string{"kubedl-model": "opt/llm-1/model", "models": "opt/llm-1/model"}},
		"a base image with /models":   {path: "/opt/llm", base: []tarEntry{file("models/own", "x")}, links: map[string]string{"kubedl-model": "opt/llm"}},
		"a base image with parents":   {path: "/opt/llm", base: []tarEntry{file("opt/own", "x")}, links: map[string]string{"kubedl-model": "opt/llm", "models": "opt/llm"}},
		"the default, as it is named": {path: "/kubedl-model", links: map[string]string{"models": "kubedl-model"}},
	}
	for engine, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
		for name, tt := range tests {
			t.Run(name+", "+engine, func(t *testing.T) {
				p := newPod(t)
				p.streams, p.modelPath = streams, tt.path
				p.base = p.host + "/base/b:1"
				p.push(t, baseOf(t, append(tt.base, file("bin/sh", "x"))...), p.base)
				p.write(t, "source/sub/w.bin", "weights")

				code, printed := p.allSteps(t)

				require.Equal(t, exitOK, code, printed)
				entries := entriesOf(t, p.pull(t))
				assert.Equal(t, byte(tar.TypeReg), entries[strings.TrimPrefix(tt.path, "/")+"/sub/w.bin"].Typeflag)
				for name, target := range tt.links {
					assert.Equal(t, byte(tar.TypeSymlink), entries[name].Typeflag, name)
					assert.Equal(t, target, entries[name].Linkname, name)
				}
				want := tt.path
				if want == v1alpha1.ModelPath {
					want = ""
				}
				assert.Equal(t, want, p.report(t).Image.ModelPath)

				p.recreate(t)
				p.uid = "recreated"
				code, printed = p.allSteps(t)
				require.Equal(t, exitOK, code, printed)
				assert.True(t, p.report(t).Source.AlreadyPushed)
				assert.Equal(t, want, p.report(t).Image.ModelPath)

				// The image with the model in another directory is another one.
				p.modelPath = "/srv/model"
				code, printed = p.mountCheck(t)
				p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, "the model is at", code, printed)
			})
		}
	}
}

func TestMountCheckModelPath(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	for _, path := range []string{"models", "/", "//models", "/models/", "/models/..", "/../models", "/etc/model", "/proc/1", "/kubedl-model/1", "/mo dels", "/-rf", "/.hidden", "/a/.wh.b", "/a;id", "/" + strings.Repeat("x", 128)} {
		t.Run(path, func(t *testing.T) {
			code, printed := p.mountCheck(t, "--model-path="+path)
			assert.NotEqual(t, exitOK, code, printed)
			assert.Contains(t, printed, "must")
		})
	}
	t.Run("below a link of the base image", func(t *testing.T) {
		p.base = p.host + "/base/link:1"
		p.push(t, baseOf(t, tarEntry{Header: tar.Header{Name: "opt", Typeflag: tar.TypeSymlink, Linkname: "usr"}}), p.base)
		code, printed := p.mountCheck(t, "--model-path=/opt/model")
		p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, "has a file or a link at /opt, above the directory of the model", code, printed)
	})
}

func TestCreated(t *testing.T) {
	for _, value := range []string{"yesterday", "2026-01-31", "2026-01-31T12:00:00", "0000-01-01T00:00:00Z", "2026-13-01T00:00:00Z"} {
		t.Run(value, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			code, printed := p.mountCheck(t, "--created="+value)
			assert.NotEqual(t, exitOK, code, printed)
			assert.Contains(t, printed, "must be a time such as 2006-01-02T15:04:05Z")
		})
	}
	t.Run("without a time, Kaniko takes that of the build", func(t *testing.T) {
		p := newBuiltPod(t)
		config, err := p.pull(t).ConfigFile()
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), config.Created.Time, time.Hour)
	})
	t.Run("without a time, Stream takes that of the base image", func(t *testing.T) {
		p := newStreamedPod(t)
		config, err := p.pull(t).ConfigFile()
		require.NoError(t, err)
		assert.Zero(t, config.Created.Time)
		assert.NotContains(t, config.Config.Labels, "org.opencontainers.image.created")
	})
}
