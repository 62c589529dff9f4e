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
		faultRejected:          {step: "build", reason: v1alpha1.ReasonRegistryUnauthorized, want: "403 Forbidden"},
		faultDropsFile:         {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: `left "/kubedl-model/w.bin" out of its layer`},
		faultWritesNoDigest:    {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: "the image builder did not report what it pushed"},
		faultPushesNothing:     {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "the registry does not have"},
		faultDropsFirstLayer:   {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the layer sha256:"},
		faultAddsLayer:         {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "has other layers than those of the base image, the model and the manifest"},
		faultDropsManifest:     {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the manifest of the model's files: delete the tag"},
		faultTruncatesManifest: {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lists other files than were packaged: delete the tag"},
		faultDropsEnvironment:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "does not set KUBEDL_MODEL_PATH=/kubedl-model: delete the tag"},
		faultDropsLabels:       {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "belongs to another ModelVersion"},
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

// The next attempt does not accept what a failed one left at the tag.
func TestStepsDetectFaultsOfEarlierAttempt(t *testing.T) {
	tests := map[string]string{
		faultDropsFirstLayer:  "the manifest of its files lists 1 layers, and the image has 1",
		faultAddsLayer:        "below the model's layers, it has other layers than the base image",
		faultDropsManifest:    "lacks the manifest of the model's files",
		faultDropsEnvironment: "does not set KUBEDL_MODEL_PATH=/kubedl-model",
		faultDropsLabels:      "an image that names no ModelVersion",
	}
	for name, want := range tests {
		t.Run("Kaniko "+name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			t.Setenv(fault, name)
			code, printed := p.allSteps(t)
			require.Equal(t, exitFailed, code, printed)

			t.Setenv(fault, "")
			for range 2 {
				p.recreate(t)
				code, printed = p.allSteps(t)
				p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, want, code, printed)
			}
		})
	}
}

func TestStepsAfterFailedPush(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/w.bin", "weights")
	t.Setenv(fault, faultPushesNothing)
	code, printed := p.allSteps(t)
	require.Equal(t, exitFailed, code, printed)

	t.Setenv(fault, "")
	p.recreate(t)
	code, printed = p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
}

func TestStatusReportDetectsMovedTag(t *testing.T) {
	p := newBuiltPod(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	p.push(t, mutate.Annotations(p.pull(t), map[string]string{"a": "b"}).(v1.Image), p.image())
	code, printed = p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, "was moved from sha256:", code, printed)
}

// Somebody replaces the image between the push and its verification by one that has
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
	want := handoff.Expectation{
		BaseDiffIDs: []string{"base 0", "base 1"},
		Layers:      []layer.BuiltLayer{{DiffID: "model 0", Files: 1, Bytes: 2}, {DiffID: "model 1", Files: 2, Bytes: 3}},
	}
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
			err := verifyLayers(tt.diffIDs, want, report.Source{Files: 3, Bytes: 5})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
	require.ErrorContains(t, verifyLayers([]string{"base 0", "base 1", "model 0", "model 1", "manifest"}, want, report.Source{Files: 4, Bytes: 5}), "hold 3 files with 5 bytes, and the model 4 files")
}
