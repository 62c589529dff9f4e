package modelimage

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// oneLayerImage is an image of one layer.
type oneLayerImage struct {
	v1.Image
	layer  v1.Layer
	diffID v1.Hash
}

func (i oneLayerImage) Layers() ([]v1.Layer, error) { return []v1.Layer{i.layer}, nil }

func (i oneLayerImage) ConfigFile() (*v1.ConfigFile, error) {
	return &v1.ConfigFile{RootFS: v1.RootFS{DiffIDs: []v1.Hash{i.diffID}}}, nil
}

// manifestLayer is a layer with a manifest of any size, which is generated while
// it is read.
type manifestLayer struct {
	v1.Layer
	size int64
}

func (l manifestLayer) Compressed() (io.ReadCloser, error) {
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

func TestManifestDigestUsesLittleMemory(t *testing.T) {
	const size, bound = 200 << 20, 16 << 20
	want := sha256.New()
	_, err := io.CopyN(want, zeros{}, size)
	require.NoError(t, err)

	large := manifestLayer{size: size}
	content, err := large.Compressed()
	require.NoError(t, err)
	diffID, _, err := v1.SHA256(content)
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
	got, err := ManifestDigest(oneLayerImage{layer: large, diffID: diffID})
	stop()
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(want.Sum(nil)), got)
	assert.Less(t, <-heap, before+bound)
}

// heapInUse returns the number of bytes of reachable objects.
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
