package step

import (
	"archive/tar"
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
	"github.com/modelkiln/modelkiln/internal/report"
)

func newStreamingPod(t *testing.T) *pod {
	t.Helper()
	p := newPod(t)
	p.streams, p.compression = true, "None"
	return p
}

func streamed(t *testing.T) *pod {
	t.Helper()
	p := newStreamingPod(t)
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitDone, code, printed)
	return p
}

func TestAModelBecomesAnImageWithoutKaniko(t *testing.T) {
	p := newStreamingPod(t)
	p.hasTheModel(t)
	p.base = p.host + "/base/nonroot:1"
	p.put(t, configured(t, randomImage(t), v1.Config{User: "nonroot", Env: []string{"PATH=/bin"}}), p.base)

	code, printed := p.allSteps(t)

	require.Equal(t, exitDone, code, printed)
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
	p.assertHoldsTheSource(t, image)
}

func TestAModelIsCompressedWhileItIsSent(t *testing.T) {
	p := newStreamingPod(t)
	p.compression = "Zstd"
	p.hasTheModel(t)

	code, printed := p.allSteps(t)

	require.Equal(t, exitDone, code, printed)
	r := p.report(t)
	assert.Less(t, r.Image.Bytes, r.Source.Bytes/100, "the large files hold next to nothing")
	assert.Less(t, r.Build.SentBytes, r.Image.Bytes)
	image := p.pull(t)
	manifest, err := image.Manifest()
	require.NoError(t, err)
	assert.Equal(t, types.OCILayerZStd, manifest.Layers[0].MediaType)
	p.assertHoldsTheSource(t, image)

	// What is compressed already is taken as it is.
	p.previous, p.tag, p.uid, p.compression = p.image(), "v2", "another", "None"
	code, printed = p.allSteps(t)
	require.Equal(t, exitDone, code, printed)
	again := p.report(t)
	assert.Zero(t, again.Build.SentBytes)
	assert.Equal(t, r.Build.SentBytes, again.Build.ReusedBytes)
	p.assertHoldsTheSource(t, p.pull(t))
}

// Whoever reads it ends, too, before it is whole.
func TestACompressedArchiveCanBeReadFromAnyByte(t *testing.T) {
	p := newStreamingPod(t)
	p.sized(t, "source/w.bin", "weights", 3<<20)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	work, err := readJob(p.at("kiln"))
	require.NoError(t, err)
	root, err := work.Storage.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, root.Close()) })
	archive, err := archiveOf(root, work.Plan, 0)
	require.NoError(t, err)
	want, err := diffID(t.Context(), archive, io.Discard)
	require.NoError(t, err)
	blob := &compressed{archive: archive, read: func(int64) {}}
	read := func(offset int64) []byte {
		content := blob.Open(t.Context(), offset)
		all, err := io.ReadAll(content)
		require.NoError(t, err)
		require.NoError(t, content.Close())
		return all
	}

	whole := read(0)

	assert.Equal(t, want, blob.diffID)
	for _, offset := range []int64{1, int64(len(whole)) / 2, int64(len(whole))} {
		assert.Equal(t, whole[offset:], read(offset))
	}
	left := blob.Open(t.Context(), 0)
	_, err = left.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, left.Close())
}

// The same files on another machine, at another time, in another order.
func TestTheSameFilesAreTheSameImage(t *testing.T) {
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
			require.NoError(t, os.Chtimes(p.at(name), at, at))
		}
		code, printed := p.allSteps(t)
		require.Equal(t, exitDone, code, printed)
		digests = append(digests, p.report(t).Image.Digest)
	}
	assert.Equal(t, digests[0], digests[1])
}

func TestAStreamedVersionAgainIsNoWork(t *testing.T) {
	p := streamed(t)
	want := p.report(t).Image
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(p.at("source/w.bin"), later, later))

	code, printed := p.allSteps(t)

	require.Equal(t, exitDone, code, printed)
	assert.Contains(t, printed, "the registry serves")
	r := p.report(t)
	assert.True(t, r.Source.AlreadyPushed)
	assert.Equal(t, want, r.Image)
}

func TestAStreamedVersionWithOtherFilesIsRefused(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, p *pod)
		want   string
	}{
		"other content of the same size": {change: func(t *testing.T, p *pod) { p.write(t, "source/w.bin", "WEIGHTS") }, want: `as "config.json", or one of the 1 small files beside it, was changed`},
		"one more file":                  {change: func(t *testing.T, p *pod) { p.write(t, "source/x", "") }, want: `as "x" was added`},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			p := streamed(t)
			tt.change(t, p)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, tt.want, code, printed)
		})
	}
}

func TestALargeFileThatIsAnotherIsNamed(t *testing.T) {
	p := newStreamingPod(t)
	p.hasTheModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitDone, code, printed)
	p.write(t, "source/weights-1.bin", "other weights")
	require.NoError(t, os.Truncate(p.at("source/weights-1.bin"), layer.DefaultSize+1))
	code, printed = p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, `as "weights-1.bin" was changed`, code, printed)
}

func TestAFileThatChangesWhileItIsSentIsNotTagged(t *testing.T) {
	changes := map[string]func(t *testing.T, p *pod){
		"it grows":           func(t *testing.T, p *pod) { p.sized(t, "source/w.bin", "weights", 20<<20) },
		"it shrinks":         func(t *testing.T, p *pod) { require.NoError(t, os.Truncate(p.at("source/w.bin"), 5<<20)) },
		"it is gone":         func(t *testing.T, p *pod) { require.NoError(t, os.Remove(p.at("source/w.bin"))) },
		"another file comes": func(t *testing.T, p *pod) { p.write(t, "source/late", "") },
		"a link leads elsewhere": func(t *testing.T, p *pod) {
			require.NoError(t, os.Remove(p.at("source/link")))
			require.NoError(t, os.Symlink("config.json", p.at("source/link")))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.sized(t, "source/w.bin", "weights", 10<<20)
			p.write(t, "source/config.json", "{}")
			require.NoError(t, os.Symlink("w.bin", p.at("source/link")))
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			inner := p.registry.handler()
			once := sync.OnceFunc(func() { change(t, p) })
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					once()
				}
				inner.ServeHTTP(w, r)
			}))

			code, printed = p.build(t)

			p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, "while", code, printed)
			answer, err := http.Get("http://" + p.host + "/v2/models/resnet/manifests/v1")
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			assert.Equal(t, http.StatusNotFound, answer.StatusCode)
		})
	}
}

func TestARegistryThatTurnsTheStreamAwayIsSaidInWords(t *testing.T) {
	p := newStreamingPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	inner := p.registry.handler()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonRegistryFull, "rejected the upload to", code, printed)
}

func TestABaseImageWithAModelOfItsOwnHidesNothing(t *testing.T) {
	first := streamed(t)
	p := newStreamingPod(t)
	p.base = p.host + "/base/model:1"
	p.put(t, first.pull(t), p.base)
	p.write(t, "source/other", "x")

	code, printed := p.allSteps(t)

	require.Equal(t, exitDone, code, printed)
	image := p.pull(t)
	layers, err := image.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 4)
	content, err := layers[2].Uncompressed()
	require.NoError(t, err)
	raw, err := io.ReadAll(content)
	require.NoError(t, err)
	assert.Contains(t, string(raw), "kubedl-model/.wh..wh..opq", "what lies below is not there any more")
	held, found, err := readManifest(image)
	require.NoError(t, err)
	require.True(t, found)
	assert.Len(t, held.Entries, 2)
}

func TestALayerIsReportedAsItWasPlanned(t *testing.T) {
	p := newStreamingPod(t)
	p.hasTheModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitDone, code, printed)
	built := p.report(t).Build.Layers
	for i := range built {
		built[i].DiffID = ""
	}
	assert.Equal(t, []report.BuiltLayer{
		{Files: 6, Bytes: 2 + 2 + 3 + 4 + 10 + 10},
		{Files: 1, Bytes: layer.DefaultSize},
		{Files: 1, Bytes: layer.DefaultSize + 1},
	}, built)
}

// Compressed, nine gibibytes of nothing are few.
func TestAFileOfMoreThanEightGibibytesIsStreamed(t *testing.T) {
	const large = 9 << 30
	p := newStreamingPod(t)
	p.compression = "Zstd"
	p.sized(t, "source/weights.bin", "", large)

	code, printed := p.allSteps(t)

	require.Equal(t, exitDone, code, printed)
	assert.Equal(t, int64(large), p.report(t).Source.Bytes)
	layers, err := p.pull(t).Layers()
	require.NoError(t, err)
	content, err := layers[len(layers)-2].Uncompressed()
	require.NoError(t, err)
	defer func() { _ = content.Close() }()
	header, err := tar.NewReader(content).Next()
	require.NoError(t, err)
	assert.Equal(t, "kubedl-model/weights.bin", header.Name)
	assert.Equal(t, int64(large), header.Size)
}
