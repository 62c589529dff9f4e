package step

import (
	"archive/tar"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// detection is where and how a fault is detected.
type detection struct{ step, reason, want string }

func TestStepsDetectFaultsOfKaniko(t *testing.T) {
	tests := map[string]detection{
		faultRejected:    {step: "build", reason: v1alpha1.ReasonRegistryUnauthorized, want: "403 Forbidden"},
		faultDropsFile:   {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: `left "/kubedl-model/w.bin" out of its layer`},
		faultStopsBefore: {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: "ended without adding all files of the model"},
	}
	for name, tt := range tests {
		t.Run("Kaniko "+name, func(t *testing.T) {
			t.Setenv(fault, name)
			p := newPod(t)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			code, printed := p.allSteps(t)
			p.assertFailed(t, tt.step, tt.reason, tt.want, code, printed)
			assert.Nil(t, p.report(t).Image)
		})
	}
}

// An engine pushes something else than it should: status-report fails, and the next
// attempt does not accept it.
func TestStepsDetectFaultsOfEngine(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, f *forgery)
		// want is said by status-report, and later by mount-check.
		want, later string
	}{
		"a layer less": {
			change: func(_ *testing.T, f *forgery) { f.model = nil },
			want:   "lacks the layer sha256:", later: "a layer is not one of the model's",
		},
		"a layer more": {
			change: func(t *testing.T, f *forgery) { f.below = []v1.Layer{archiveOf(t, file("x", "y"))} },
			want:   "has other layers than those of the base image, the model and the manifest", later: "below the model's layers, it has other layers than the base image",
		},
		"no manifest of files": {
			change: func(_ *testing.T, f *forgery) { f.last = []tarEntry{file("x", "y")} },
			want:   "lacks the manifest of the model's files, /.modelkiln/manifest.json: delete the tag", later: "lacks the manifest of the model's files",
		},
		"another manifest of files": {
			change: func(_ *testing.T, f *forgery) { f.files.Entries[0].Size++ },
			want:   "lists other files than were packaged: delete the tag", later: "its files have changed since",
		},
		"no environment": {
			change: func(_ *testing.T, f *forgery) { f.config.Config.Env = nil },
			want:   "does not set KUBEDL_MODEL_PATH=/kubedl-model: delete the tag", later: "does not set KUBEDL_MODEL_PATH=/kubedl-model",
		},
		"no labels": {
			change: func(_ *testing.T, f *forgery) { f.config.Config.Labels = nil },
			want:   "belongs to another ModelVersion", later: "an image that names no ModelVersion",
		},
	}
	forEachEngine(t, func(t *testing.T, p *pod) {
		honest, expected := p.pull(t), p.expectation(t)
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				p.push(t, honest, p.image())
				f := p.takeApart(t)
				tt.change(t, f)
				faulty := f.image(t)
				p.push(t, faulty, p.image())
				digest, err := faulty.Digest()
				require.NoError(t, err)
				expected.Digest = digest.String()
				if len(f.model) > 0 {
					expected.Layers = f.files.Layers
				}
				require.NoError(t, handoff.Dir(p.path("kiln")).WriteExpectation(expected))
				code, printed := p.statusReport(t)
				p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, tt.want, code, printed)

				code, printed = p.mountCheck(t)
				require.Equal(t, exitFailed, code, printed)
				assert.Contains(t, p.report(t).Failure.Message, tt.later)
				// The next case needs a report of a build.
				p.push(t, honest, p.image())
				code, printed = p.allSteps(t)
				require.Equal(t, exitOK, code, printed)
			})
		}
	})
}

func TestStepsAfterFailedPush(t *testing.T) {
	forEachEngine(t, func(t *testing.T, p *pod) {
		p.tag = "v2"
		inner := p.registry.get()
		p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			inner.ServeHTTP(w, r)
		}))
		code, printed := p.allSteps(t)
		p.assertFailed(t, "build", v1alpha1.ReasonRegistryUnauthorized, "(403", code, printed)

		p.registry.set(inner)
		p.recreate(t)
		code, printed = p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
	})
}

func TestStatusReportDetectsMovedTag(t *testing.T) {
	p := newBuiltPod(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	p.push(t, mutate.Annotations(p.pull(t), map[string]string{"a": "b"}).(v1.Image), p.image())
	code, printed = p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, "was moved from sha256:", code, printed)
}

// Another user replaces the image between the push and its verification by one that has
// another file between the model's layers and the manifest of its files, and
// everything else of the original.
func TestStatusReportDetectsReplacedImage(t *testing.T) {
	for name, newPod := range map[string]func(*testing.T) *pod{"Kaniko": newPod, "Stream": newStreamingPod} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/w.bin", "weights")
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)

			p.push(t, withHiddenLayer(t, p.pull(t)), p.image())

			code, printed = p.statusReport(t)
			p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, "was moved from sha256:", code, printed)
			assert.Nil(t, p.report(t).Image)
		})
	}
}

// withHiddenLayer returns an image with another layer below its last one.
func withHiddenLayer(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	layers, err := image.Layers()
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	added, err := imageWith(t, tar.Header{Name: "kubedl-model/w.bin", Typeflag: tar.TypeReg, Mode: 0o644}).Layers()
	require.NoError(t, err)

	changed, err := mutate.AppendLayers(empty.Image, slices.Insert(layers, len(layers)-1, added...)...)
	require.NoError(t, err)
	withLayers, err := changed.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.RootFS, config.History = withLayers.RootFS, nil
	changed, err = mutate.ConfigFile(changed, config)
	require.NoError(t, err)
	return changed
}

func TestStatusReportDetectsFaultsOfRegistry(t *testing.T) {
	tests := map[string]struct {
		blob         func(w http.ResponseWriter)
		reason, want string
	}{
		"a missing layer": {
			blob:   func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
			reason: v1alpha1.ReasonVerificationFailed, want: "the registry lacks the layer sha256:",
		},
		"a truncated layer": {
			blob:   func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1") },
			reason: v1alpha1.ReasonVerificationFailed, want: "the registry has 1 bytes of the layer",
		},
		"a layer without permission": {
			blob:   func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
			reason: v1alpha1.ReasonRegistryUnauthorized, want: "(403",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newBuiltPod(t)
			inner := p.registry.get()
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Range") != "" {
					tt.blob(w)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			code, printed := p.statusReport(t)
			p.assertFailed(t, "status-report", tt.reason, tt.want, code, printed)
		})
	}
}

func TestVerifyLayers(t *testing.T) {
	base := []string{"base 0", "base 1"}
	model := []layer.BuiltLayer{{DiffID: "model 0", Files: 1, Bytes: 2}, {DiffID: "model 1", Files: 2, Bytes: 3}}
	tests := map[string]struct {
		diffIDs []string
		want    string
	}{
		"the expected layers":        {diffIDs: []string{"base 0", "base 1", "model 0", "model 1", "manifest"}},
		"no manifest":                {[]string{"base 0", "base 1", "model 0", "model 1"}, "lacks the manifest of the model's files"},
		"a layer less":               {[]string{"base 0", "base 1", "model 1", "manifest"}, "lacks the layer model 0, which holds 1 file"},
		"a layer less of the base":   {[]string{"base 1", "model 0", "model 1", "manifest"}, "has other layers"},
		"another base":               {[]string{"base 0", "other", "model 0", "model 1", "manifest"}, "has other layers"},
		"another order":              {[]string{"base 0", "base 1", "model 1", "model 0", "manifest"}, "has other layers"},
		"a layer below the base":     {[]string{"other", "base 0", "base 1", "model 0", "model 1", "manifest"}, "has other layers"},
		"a layer below the model":    {[]string{"base 0", "base 1", "other", "model 0", "model 1", "manifest"}, "has other layers"},
		"a layer between the model":  {[]string{"base 0", "base 1", "model 0", "other", "model 1", "manifest"}, "has other layers"},
		"a layer above the model":    {[]string{"base 0", "base 1", "model 0", "model 1", "other", "manifest"}, "has other layers"},
		"a layer above the manifest": {[]string{"base 0", "base 1", "model 0", "model 1", "manifest", "other"}, "has other layers"},
		"no layers":                  {want: "lacks the layer model 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := verifyLayers(tt.diffIDs, base, model, report.Source{Files: 3, Bytes: 5})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
	require.ErrorContains(t, verifyLayers([]string{"base 0", "base 1", "model 0", "model 1", "manifest"}, base, model, report.Source{Files: 4, Bytes: 5}), "hold 3 files with 5 bytes, and the model 4 files")
}
