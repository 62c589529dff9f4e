package step

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
)

func TestTheManifestInTheImage(t *testing.T) {
	p := built(t)
	manifest, found, err := readManifest(p.pull(t))
	require.NoError(t, err)
	require.True(t, found)
	config, err := p.pull(t).ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, []report.BuiltLayer{{DiffID: config.RootFS.DiffIDs[0].String(), Files: 2, Bytes: 9}}, manifest.Layers)
	raw, err := json.Marshal(manifest.Entries)
	require.NoError(t, err)
	assert.JSONEq(t, `[
		{"path": ".", "type": "dir", "mode": "0755"},
		{"path": "config.json", "type": "file", "size": 2, "mode": "0644", "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"path": "w.bin", "type": "file", "size": 7, "mode": "0644", "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}
	]`, string(raw))
}

// imageOfOne is an image of one layer.
type imageOfOne struct {
	v1.Image
	layer v1.Layer
}

func (i imageOfOne) Layers() ([]v1.Layer, error) { return []v1.Layer{i.layer}, nil }

// layerWithList is a layer with a list of files of any length, which is made
// while it is read.
type layerWithList struct {
	v1.Layer
	size int64
}

func (l layerWithList) Uncompressed() (io.ReadCloser, error) {
	from, to := io.Pipe()
	go func() {
		archive := tar.NewWriter(to)
		err := archive.WriteHeader(&tar.Header{Name: layer.ManifestFile, Size: l.size})
		if err == nil {
			_, err = io.CopyN(archive, zeros{}, l.size)
		}
		_ = to.CloseWithError(errors.Join(err, archive.Close()))
	}()
	return from, nil
}

func TestAListOfAnyLengthIsVerifiedInLittleMemory(t *testing.T) {
	const size, bound = 200 << 20, 16 << 20
	want := sha256.New()
	_, err := io.CopyN(want, zeros{}, size)
	require.NoError(t, err)

	heap := make(chan uint64)
	ctx, stop := context.WithCancel(t.Context())
	before := heapInUse()
	go func() {
		highest := uint64(0)
		for ctx.Err() == nil {
			highest = max(highest, heapInUse())
		}
		heap <- highest
	}()
	got, found, err := manifestDigest(imageOfOne{layer: layerWithList{size: size}})
	stop()
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, hex.EncodeToString(want.Sum(nil)), got)
	assert.Less(t, <-heap, before+bound)
}

// heapInUse is how many bytes are still needed.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
