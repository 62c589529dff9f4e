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
)

// uploadCounter counts the bytes of uploads to a registry.
type uploadCounter struct {
	mu    sync.Mutex
	inner http.Handler
	bytes int64
}

func (c *uploadCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		c.mu.Lock()
		c.bytes += r.ContentLength
		c.mu.Unlock()
	}
	c.inner.ServeHTTP(w, r)
}

func TestStreamSendsOnlyChangedLayers(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, p *pod)
		// large is how many bytes of the two large files are sent, and small is true
		// if the small files are sent.
		large int64
		small bool
	}{
		"nothing":                      {change: func(*testing.T, *pod) {}},
		"a small file":                 {change: func(t *testing.T, p *pod) { p.write(t, "source/config.json", "[]") }, small: true},
		"a large file":                 {change: func(t *testing.T, p *pod) { p.writeSized(t, "source/weights-0.bin", "others", layerSize) }, large: layerSize},
		"a large file of another size": {change: func(t *testing.T, p *pod) { p.writeSized(t, "source/weights-0.bin", "weights 0", layerSize+9) }, large: layerSize + 9},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.writeModel(t)
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			count := &uploadCounter{inner: p.registry.get()}
			p.registry.set(count)
			tt.change(t, p)
			p.previous, p.tag, p.uid = p.byDigest(t), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			r := p.report(t)
			assert.InDelta(t, r.Build.SentBytes, count.bytes, 10_000, "besides layers, only a manifest and a config are sent")
			assert.InDelta(t, tt.large, r.Build.SentBytes, 20_000)
			assert.Equal(t, tt.large > 0 || tt.small, r.Build.SentBytes > 0)
			assert.Positive(t, r.Build.ReusedBytes)
			p.assertHoldsSource(t, p.pull(t))
		})
	}
}

// A file whose content changed and whose time was restored shows whether it is
// read.
func TestStreamChangeDetection(t *testing.T) {
	tests := map[string]struct {
		changeDetection v1alpha1.ChangeDetection
		// restoreTime restores the time of the file.
		restoreTime bool
		want        string
	}{
		"default, restored time": {restoreTime: true, want: "others"},
		"Content, restored time": {changeDetection: v1alpha1.ChangesInContent, restoreTime: true, want: "others"},
		"ModTime, restored time": {changeDetection: v1alpha1.ChangesInModTime, restoreTime: true, want: "weights"},
		"ModTime, new time":      {changeDetection: v1alpha1.ChangesInModTime, want: "others"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.changeDetection = string(tt.changeDetection)
			p.write(t, "source/w.bin", "weights")
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			before, err := os.Stat(p.path("source/w.bin"))
			require.NoError(t, err)
			p.write(t, "source/w.bin", "others!")
			require.NoError(t, os.Truncate(p.path("source/w.bin"), before.Size()))
			written := before.ModTime()
			if !tt.restoreTime {
				written = written.Add(time.Second)
			}
			require.NoError(t, os.Chtimes(p.path("source/w.bin"), written, written))
			p.previous, p.tag, p.uid = p.byDigest(t), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			assert.Contains(t, contentIn(t, p.pull(t), "kubedl-model/w.bin"), tt.want)
			assert.Equal(t, tt.want == "weights", p.report(t).Build.SentBytes == 0)
		})
	}
}

// If some times are those of the previous image, a file with another time is sent
// without being read first. If none is, the files are copies and are read.
func TestStreamModTimesOfCopies(t *testing.T) {
	tests := map[string]struct {
		// small adds a small file to the large ones.
		small   bool
		touched []string
		want    int64
	}{
		"one of two large files was touched": {small: true, touched: []string{"source/weights-0.bin"}, want: layerSize},
		"all were copied":                    {small: true, touched: []string{"source/weights-0.bin", "source/weights-1.bin", "source/config.json"}},
		"all were copied, and are large":     {touched: []string{"source/weights-0.bin", "source/weights-1.bin"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.changeDetection = string(v1alpha1.ChangesInModTime)
			p.writeSized(t, "source/weights-0.bin", "weights 0", layerSize)
			p.writeSized(t, "source/weights-1.bin", "weights 1", layerSize)
			if tt.small {
				p.write(t, "source/config.json", "{}")
			}
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			for _, file := range tt.touched {
				now := time.Now().Add(time.Minute)
				require.NoError(t, os.Chtimes(p.path(file), now, now))
			}
			p.previous, p.tag, p.uid = p.byDigest(t), "v2", "another"

			code, printed = p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			assert.InDelta(t, tt.want, p.report(t).Build.SentBytes, 20_000)
			p.assertHoldsSource(t, p.pull(t))
		})
	}
}

// An image can be compared although it was built with other limits for layers.
func TestMountCheckComparesImageWithOtherLayers(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	code, printed := p.mountCheck(t, "--layer-size=1Gi", "--max-layers=1")
	require.Equal(t, exitOK, code, printed)
	code, printed = p.build(t)
	require.Equal(t, exitOK, code, printed)
	require.Len(t, p.expectedLayers(t), 1)

	code, printed = p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.True(t, p.report(t).Source.AlreadyPushed)

	p.writeSized(t, "source/weights-0.bin", "others", layerSize)
	code, printed = p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, "was changed", code, printed)
}

func TestStreamMountsLayers(t *testing.T) {
	p := newStreamingPod(t)
	p.writeModel(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.previous, p.repo, p.uid = p.byDigest(t), "models/resnet-next", "another"

	code, printed = p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	r := p.report(t)
	assert.Zero(t, r.Build.SentBytes)
	assert.Greater(t, r.Build.ReusedBytes, r.Source.Bytes)
	p.assertHoldsSource(t, p.pull(t))
}

// writeSized writes a sparse file that begins with prefix.
func (p *pod) writeSized(t *testing.T, name, prefix string, bytes int64) {
	t.Helper()
	p.write(t, name, prefix)
	require.NoError(t, os.Truncate(p.path(name), bytes))
}

func TestStreamWithUnreadablePreviousImage(t *testing.T) {
	for name, previous := range map[string]string{
		"not found":       "HOST/models/resnet@sha256:" + strings.Repeat("0", 64),
		"not a reference": "no reference at all",
		"no registry":     "127.0.0.1:1/x:y",
	} {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.write(t, "source/a", "x")
			p.previous = strings.Replace(previous, "HOST", p.host, 1)
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)
			assert.Contains(t, printed, "sending all files, because the previous image "+p.previous+" cannot be read")
		})
	}
}

// contentIn returns the content of a file in an image.
func contentIn(t *testing.T, image v1.Image, file string) string {
	t.Helper()
	archive := mutate.Extract(image)
	defer func() { _ = archive.Close() }()
	for entries := tar.NewReader(archive); ; {
		header, err := entries.Next()
		require.NoError(t, err)
		if header.Name == file {
			content, err := io.ReadAll(entries)
			require.NoError(t, err)
			return string(content)
		}
	}
}
