package kaniko

import (
	"context"
	"crypto/sha256"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// maxConcurrentLayers is how many layers are compressed and sent at the same time.
const maxConcurrentLayers = 3

// push sends the layers that Kaniko has archived, each of which is compressed once,
// and pushes the image. Kaniko could only push to the tag, and only the image for one
// platform.
func push(ctx context.Context, in Input, packed packed) (engine.Result, error) {
	repository, err := in.Registry.Open(ctx, in.Target.Repository, registry.Push)
	if err != nil {
		return engine.Result{}, failure.OfRegistry(err)
	}
	uploader, err := in.Registry.NewUploader(ctx, repository)
	if err != nil {
		return engine.Result{}, failure.OfRegistry(err)
	}
	console.Logf(in.Log, "sending %s to %s", console.Count(len(packed.archives), "layer"), in.Target.Repository)
	compression := engine.Gzip
	if in.Zstd {
		// It hardly compresses weights, in a fraction of gzip's time.
		compression = engine.Zstandard(zstd.SpeedFastest)
	}
	layers := make([]modelimage.Layer, len(packed.archives))
	group, uploading := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentLayers)
	for number, archive := range packed.archives {
		group.Go(func() (err error) {
			layers[number], err = send(uploading, uploader, archive, compression)
			if err == nil {
				console.Logf(in.Log, "layer %d: sent %s", number, console.Size(layers[number].Size))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return engine.Result{}, failure.OfRegistry(err)
	}
	result := engine.Result{Layers: modelimage.BuiltLayers(layers)}
	for _, l := range layers {
		result.SentBytes += l.Size
	}
	manifest := layer.NewManifest(in.Model, packed.digests)
	manifest.Layers, result.ListsDigests = result.Layers, manifest.HasDigests()
	result.Pushed, result.ManifestSHA256, err = in.Push(ctx, repository, manifest, layers, compression)
	return result, err
}

// send compresses and uploads the archive of a layer.
func send(ctx context.Context, uploader *registry.Uploader, archive layerArchive, compression engine.Compression) (l modelimage.Layer, err error) {
	l.Files, l.Bytes, l.MediaType = archive.Files, archive.Bytes, compression.MediaType
	blob := &engine.CompressedBlob{Archive: archive, Compression: compression, NewHash: sha256.New, OnRead: func(int64) {}}
	if l.Digest, err = uploader.Upload(ctx, blob, func(bytes int64) { l.Size = bytes }); err != nil {
		return l, err
	}
	if blob.DiffID() != archive.DiffID {
		return l, failure.Verification("a layer that the image builder wrote was changed afterwards")
	}
	l.DiffID, err = v1.NewHash(archive.DiffID)
	return l, err
}

// layerArchive is the uncompressed archive of a layer that Kaniko wrote. Kaniko may
// have removed it since, so it is kept open.
type layerArchive struct {
	layer.BuiltLayer
	file *os.File
	size int64
}

// Size returns the size of the archive in bytes.
func (a layerArchive) Size() int64 { return a.size }

// Open returns a reader of the archive from offset on.
func (a layerArchive) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(a.file, offset, a.size-offset))
}
