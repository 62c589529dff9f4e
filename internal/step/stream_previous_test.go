package step

import (
	"archive/tar"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
)

// counted counts the bytes of layers that come to a registry.
type counted struct {
	mu    sync.Mutex
	inner http.Handler
	bytes int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		c.mu.Lock()
		c.bytes += r.ContentLength
		c.mu.Unlock()
	}
	c.inner.ServeHTTP(w, r)
}

func TestAVersionSendsOnlyWhatAnEarlierOneDoesNotHave(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, p *pod)
		// sent is what is sent of the two large files, and of the small ones.
		large int64
		small bool
	}{
		"nothing":                      {change: func(*testing.T, *pod) {}},
		"a small file":                 {change: func(t *testing.T, p *pod) { p.write(t, "source/config.json", "[]") }, small: true},
		"a large file":                 {change: func(t *testing.T, p *pod) { p.sized(t, "source/weights-0.bin", "others", layer.DefaultSize) }, large: layer.DefaultSize},
		"a large file of another size": {change: func(t *testing.T, p *pod) { p.sized(t, "source/weights-0.bin", "weights 0", layer.DefaultSize+9) }, large: layer.DefaultSize + 9},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.hasTheModel(t)
			code, printed := p.allSteps(t)
			require.Equal(t, exitDone, code, printed)
			count := &counted{inner: p.registry.handler()}
			p.registry.set(count)
			tt.change(t, p)
			p.previous, p.tag, p.uid = p.image(), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitDone, code, printed)
			r := p.report(t)
			assert.InDelta(t, r.Build.SentBytes, count.bytes, 10_000, "beside layers, only a list and a config are sent")
			assert.InDelta(t, tt.large, r.Build.SentBytes, 20_000)
			assert.Equal(t, tt.large > 0 || tt.small, r.Build.SentBytes > 0)
			assert.Positive(t, r.Build.ReusedBytes)
			p.assertHoldsTheSource(t, p.pull(t))
		})
	}
}

// A file that was written and whose time was set back shows what is read.
func TestFilesAreReadUnlessTheirTimesAreTrusted(t *testing.T) {
	tests := map[string]struct {
		changes v1alpha1.ChangeDetection
		// setBack says that the time is what it was.
		setBack bool
		want    string
	}{
		"nobody trusts times":                           {setBack: true, want: "others"},
		"every file is read":                            {changes: v1alpha1.ChangesInContent, setBack: true, want: "others"},
		"times are trusted, and one was set back":       {changes: v1alpha1.ChangesInModTime, setBack: true, want: "weights"},
		"times are trusted, and one says it is another": {changes: v1alpha1.ChangesInModTime, want: "others"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.changes = string(tt.changes)
			p.write(t, "source/w.bin", "weights")
			code, printed := p.allSteps(t)
			require.Equal(t, exitDone, code, printed)
			before, err := os.Stat(p.at("source/w.bin"))
			require.NoError(t, err)
			p.write(t, "source/w.bin", "others!")
			require.NoError(t, os.Truncate(p.at("source/w.bin"), before.Size()))
			written := before.ModTime()
			if !tt.setBack {
				written = written.Add(time.Second)
			}
			require.NoError(t, os.Chtimes(p.at("source/w.bin"), written, written))
			p.previous, p.tag, p.uid = p.image(), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitDone, code, printed)
			assert.Contains(t, contentIn(t, p.pull(t), "kubedl-model/w.bin"), tt.want)
			assert.Equal(t, tt.want == "weights", p.report(t).Build.SentBytes == 0)
		})
	}
}

// Where some times are what they were, a file with another time is sent and not
// read before; where none is, the files are copies, and are read.
func TestTimesAreTrustedWhereTheyAreKept(t *testing.T) {
	tests := map[string]struct {
		// small says that the model has small files beside the large ones.
		small   bool
		touched []string
		want    int64
	}{
		"one of two large files was touched": {small: true, touched: []string{"source/weights-0.bin"}, want: layer.DefaultSize},
		"all were copied":                    {small: true, touched: []string{"source/weights-0.bin", "source/weights-1.bin", "source/config.json"}},
		"all were copied, and are large":     {touched: []string{"source/weights-0.bin", "source/weights-1.bin"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.changes = string(v1alpha1.ChangesInModTime)
			p.sized(t, "source/weights-0.bin", "weights 0", layer.DefaultSize)
			p.sized(t, "source/weights-1.bin", "weights 1", layer.DefaultSize)
			if tt.small {
				p.write(t, "source/config.json", "{}")
			}
			code, printed := p.allSteps(t)
			require.Equal(t, exitDone, code, printed)
			for _, file := range tt.touched {
				now := time.Now().Add(time.Minute)
				require.NoError(t, os.Chtimes(p.at(file), now, now))
			}
			p.previous, p.tag, p.uid = p.image(), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitDone, code, printed)
			assert.InDelta(t, tt.want, p.report(t).Build.SentBytes, 20_000)
			p.assertHoldsTheSource(t, p.pull(t))
		})
	}
}

// What an image holds can be compared whatever the limits were when it was made.
func TestAnImageIsComparedByTheLayersThatItHas(t *testing.T) {
	p := newStreamingPod(t)
	p.hasTheModel(t)
	code, printed := p.mountCheck(t, "--layer-size=1Gi", "--max-layers=1")
	require.Equal(t, exitDone, code, printed)
	code, printed = p.build(t)
	require.Equal(t, exitDone, code, printed)
	require.Len(t, p.report(t).Build.Layers, 1)

	code, printed = p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	assert.True(t, p.report(t).Source.AlreadyPushed)

	p.sized(t, "source/weights-0.bin", "others", layer.DefaultSize)
	code, printed = p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, "is another", code, printed)
}

func TestLayersAreMountedFromTheRepositoryOfAnEarlierVersion(t *testing.T) {
	p := newStreamingPod(t)
	p.hasTheModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitDone, code, printed)
	p.previous, p.repo, p.uid = p.image(), "models/resnet-next", "another"

	code, printed = p.allSteps(t)

	require.Equal(t, exitDone, code, printed)
	r := p.report(t)
	assert.Zero(t, r.Build.SentBytes)
	assert.Greater(t, r.Build.ReusedBytes, r.Source.Bytes)
	p.assertHoldsTheSource(t, p.pull(t))
}

// sized writes a file of so many bytes.
func (p *pod) sized(t *testing.T, name, begins string, bytes int64) {
	t.Helper()
	p.write(t, name, begins)
	require.NoError(t, os.Truncate(p.at(name), bytes))
}

func TestAnEarlierImageThatCannotBeReadMakesABuildSlowerAndNotWrong(t *testing.T) {
	for name, previous := range map[string]string{
		"it is gone":         "HOST/models/resnet@sha256:" + strings.Repeat("0", 64),
		"it is no reference": "no reference at all",
		"nobody answers":     "127.0.0.1:1/x:y",
	} {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.write(t, "source/a", "x")
			p.previous = strings.Replace(previous, "HOST", p.host, 1)
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			code, printed = p.build(t)
			require.Equal(t, exitDone, code, printed)
			assert.Contains(t, printed, "the files of "+p.previous+" are not known, so that all are sent")
		})
	}
}

// contentIn is the content of a file in an image.
func contentIn(t *testing.T, image v1.Image, file string) string {
	t.Helper()
	whole := mutate.Extract(image)
	defer func() { _ = whole.Close() }()
	for entries := tar.NewReader(whole); ; {
		header, err := entries.Next()
		require.NoError(t, err)
		if header.Name == file {
			content, err := io.ReadAll(entries)
			require.NoError(t, err)
			return string(content)
		}
	}
}
