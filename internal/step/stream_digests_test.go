package step

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// listedFiles returns the manifest of the files in the image at the tag.
func (p *pod) listedFiles(t *testing.T) layer.Manifest {
	t.Helper()
	manifest, err := modelimage.ReadManifest(p.pull(t))
	require.NoError(t, err)
	return manifest
}

// assertListsDigests asserts that the image lists the SHA-256 of every file of the
// model.
func (p *pod) assertListsDigests(t *testing.T) {
	t.Helper()
	files := 0
	for _, e := range p.listedFiles(t).Entries {
		if e.Type != layer.File {
			assert.Empty(t, e.SHA256, e.Path)
			continue
		}
		content, err := os.ReadFile(p.path("source/" + e.Path))
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		assert.Equal(t, hex.EncodeToString(sum[:]), e.SHA256, e.Path)
		files++
	}
	assert.Positive(t, files)
}

func TestStreamListsDigests(t *testing.T) {
	for _, compression := range []string{"None", "Zstd"} {
		t.Run(compression, func(t *testing.T) {
			p := newStreamingPod(t)
			p.compression = compression
			p.writeModel(t)
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			p.assertListsDigests(t)
		})
	}
}

// Whatever layers are reused, the image lists the digests of all files.
func TestStreamListsDigestsOfReusedLayers(t *testing.T) {
	tests := map[string]struct {
		changeDetection v1alpha1.ChangeDetection
		// withoutDigests is true if the previous image lists none.
		withoutDigests bool
	}{
		"found by content":                        {changeDetection: v1alpha1.ChangesInContent},
		"found by content, in a list without any": {changeDetection: v1alpha1.ChangesInContent, withoutDigests: true},
		"found by time, and not read":             {changeDetection: v1alpha1.ChangesInModTime},
		"found by time, in a list without any":    {changeDetection: v1alpha1.ChangesInModTime, withoutDigests: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.changeDetection, p.skipsDigests = string(tt.changeDetection), tt.withoutDigests
			p.writeModel(t)
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			p.write(t, "source/config.json", `{"changed":true}`)
			p.previous, p.tag, p.uid, p.skipsDigests = p.byDigest(t), "v2", "another", false

			code, printed = p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			assert.Positive(t, p.report(t).Build.ReusedBytes)
			p.assertListsDigests(t)
		})
	}
}

func TestStreamWithoutDigests(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	with := p.listedFiles(t)
	p.tag, p.uid, p.skipsDigests = "v2", "another", true

	code, printed = p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	without := p.listedFiles(t)
	assert.Equal(t, with.Layers, without.Layers, "only the layer with the list differs")
	assert.True(t, with.HasDigests())
	for _, e := range without.Entries {
		assert.Empty(t, e.SHA256, e.Path)
	}
	code, printed = p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.True(t, p.report(t).Source.AlreadyPushed)
}

// What the registry has lost of an interrupted request is hashed once more.
func TestStreamListsDigestsAfterInterruption(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	inner := p.registry.get()
	var uploads atomic.Int32 // several layers are uploaded at once
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && r.ContentLength > layerSize && uploads.Add(1) <= 2 {
			_, _ = r.Body.Read(make([]byte, 1000))
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	}))

	code, printed = p.build(t)

	require.Equal(t, exitOK, code, printed)
	assert.Greater(t, uploads.Load(), int32(2), "two uploads were interrupted and started again")
	p.assertListsDigests(t)
}
