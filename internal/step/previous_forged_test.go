package step

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// The operator names the previous image by the digest of a ModelVersion that is
// Ready, so its layers were verified when it was built. Nothing else that the
// registry returns for it is reused.
func TestStreamReusesVerifiedLayersOnly(t *testing.T) {
	tests := map[string]struct {
		// previous returns the reference of the previous image, whose tag holds an
		// honest image.
		previous func(t *testing.T, p *pod) string
		want     string
	}{
		"a tag, which can reference any image later": {
			previous: func(_ *testing.T, p *pod) string { return p.image() },
			want:     "cannot be read: it is not a reference by digest",
		},
		"another image for the digest": {
			previous: func(t *testing.T, p *pod) string {
				reference := p.byDigest(t)
				forged := p.takeApart(t)
				forged.config.Author = "somebody"
				other, err := forged.image(t).RawManifest()
				require.NoError(t, err)
				p.returns(path.Base(strings.ReplaceAll(reference, "@", "/")), func([]byte) []byte { return other })
				return reference
			},
			want: "cannot be read: the registry",
		},
		"another manifest of files for its digest": {
			previous: func(t *testing.T, p *pod) string {
				p.returns(p.lastLayer(t), func(content []byte) []byte {
					return bytes.Replace(content, []byte("w.bin"), []byte("v.bin"), 1)
				})
				return p.byDigest(t)
			},
			want: "cannot be read: error verifying sha256 checksum",
		},
		"a config with fewer layers": {
			previous: func(t *testing.T, p *pod) string {
				image := p.pull(t)
				config, err := image.ConfigFile()
				require.NoError(t, err)
				config = config.DeepCopy()
				config.RootFS.DiffIDs = config.RootFS.DiffIDs[1:]
				image, err = mutate.ConfigFile(image, config)
				require.NoError(t, err)
				p.push(t, image, p.image())
				return p.byDigest(t)
			},
			want: "cannot be read: it lacks the manifest of the model's files",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newForgedPod(t, true)
			honest := p.registry.get()
			p.changeDetection = string(v1alpha1.ChangesInModTime)
			p.previous = tt.previous(t, p)
			p.tag, p.uid = "v2", "another"
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)
			assert.Contains(t, printed, "sending all files, because the previous image "+p.previous+" "+tt.want)
			assert.Zero(t, p.report(t).Build.ReusedBytes)
			p.registry.set(honest)
			p.assertHoldsSource(t, p.pull(t))
		})
	}
}

// A layer that records the modification times of the files is reused only if it is
// one of the model's and the manifest of files has these files.
func TestStreamReusesLayersOfTheModelOnly(t *testing.T) {
	tests := map[string]struct {
		// records reports whether a layer above the base image records the times of
		// the files. The first one holds the model.
		records func(number int) bool
		change  func(t *testing.T, f *forgery)
	}{
		"the layer with the model":    {records: func(number int) bool { return number == 0 }},
		"the layer of the base image": {records: func(number int) bool { return number < 0 }},
		"the layer with the manifest": {records: func(number int) bool { return number == 1 }},
		"a layer of files of other sizes": {
			records: func(number int) bool { return number == 0 },
			change: func(t *testing.T, f *forgery) {
				f.spoilWeights(t)
				for i := range f.files.Entries {
					f.files.Entries[i].Size++
				}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.base = p.host + "/base/sh:1"
			p.push(t, baseOf(t, file("bin/sh", "good")), p.base)
			p.changeDetection = string(v1alpha1.ChangesInModTime)
			p.write(t, "source/w.bin", "weights")
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			stat := p.statDigest(t)
			forged := p.takeApart(t)
			if tt.change != nil {
				tt.change(t, forged)
			}
			forged.replace = func(number int, l v1.Layer) mutate.Addendum {
				addendum := mutate.Addendum{Layer: l}
				if tt.records(number) {
					addendum.Annotations = map[string]string{modelimage.AnnotationStatDigest: stat}
				}
				return addendum
			}
			p.push(t, forged.image(t), p.image())
			p.previous, p.tag, p.uid = p.byDigest(t), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			p.assertHoldsSource(t, p.pull(t))
		})
	}
}

// statDigest returns the digest of the times of the files in the layer with the model.
func (p *pod) statDigest(t *testing.T) string {
	t.Helper()
	manifest, err := p.pull(t).Manifest()
	require.NoError(t, err)
	digest := manifest.Layers[len(manifest.Layers)-2].Annotations[modelimage.AnnotationStatDigest]
	require.NotEmpty(t, digest)
	return digest
}

// lastLayer returns the digest of the last layer of the image at the tag.
func (p *pod) lastLayer(t *testing.T) string {
	t.Helper()
	manifest, err := p.pull(t).Manifest()
	require.NoError(t, err)
	return manifest.Layers[len(manifest.Layers)-1].Digest.String()
}

// returns makes the registry change what it returns for a digest.
func (p *pod) returns(digest string, change func(content []byte) []byte) {
	inner := p.registry.get()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || path.Base(r.URL.Path) != digest {
			inner.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, r)
		content := change(answer.Body.Bytes())
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		w.WriteHeader(answer.Code)
		_, _ = io.Copy(w, bytes.NewReader(content))
	}))
}
