package stream

import (
	"context"
	"crypto/sha256"
	"hash"
	"maps"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// maxConcurrentLayers is how many layers are sent at the same time. Two keep a
// disk and a network busy; the third is for when one of them waits.
const maxConcurrentLayers = 3

// sender sends the layers of a plan.
type sender struct {
	Input
	files      source.Files
	repository *registry.Repository
	uploader   *registry.Uploader
	// mountable are other repositories that may have the layers.
	mountable []name.Repository
	previous  previousImage
	// useModTimes is true if modification times are trusted, and the previous
	// image has those of some files.
	useModTimes bool
	transfer    *transfer
	// digests are the SHA-256 of the files of each layer, by path; none if FileDigests is
	// false.
	digests []map[string]string
	// sentBytes and reusedBytes count the layers that are in the registry.
	sentBytes, reusedBytes int64
}

// sendAll sends the layers that the registry does not have, and returns all.
func (s *sender) sendAll(ctx context.Context) ([]modelimage.Layer, error) {
	s.useModTimes = s.TrustModTimes && s.previous.hasModTimesOf(s.Model)
	layers := make([]modelimage.Layer, len(s.Model.Layers))
	s.digests = make([]map[string]string, len(layers))
	reused := make([]bool, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentLayers)
	for number := range layers {
		group.Go(func() (err error) {
			layers[number], reused[number], err = s.sendLayer(ctx, number)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for number, l := range layers {
		if reused[number] {
			s.reusedBytes += l.Size
		} else {
			s.sentBytes += l.Size
		}
	}
	s.transfer.complete()
	return layers, nil
}

// sendLayer sends one layer unless the registry has it. To find that out, the
// whole layer has to be read, so it is tried only if the previous image lists the
// same files, or if their identities or trusted modification times show it.
func (s *sender) sendLayer(ctx context.Context, number int) (l modelimage.Layer, reused bool, err error) {
	entries := s.Model.Layers[number]
	archive, err := newArchive(s.files, s.Model, number)
	if err != nil {
		return modelimage.Layer{}, false, err
	}
	l.Files, l.Bytes = layer.Count(entries)
	if s.TrustModTimes || layer.HasIdentities(entries) {
		l.StatDigest = layer.StatDigest(entries)
	}
	candidate, found, sums, err := s.findInPrevious(ctx, archive, l.StatDigest, entries)
	if err != nil {
		return modelimage.Layer{}, false, err
	}
	if found {
		reused, err = s.existsOrMounts(ctx, candidate.Descriptor)
	}
	if err == nil && reused && s.FileDigests {
		s.digests[number], err = s.digestsOfReused(ctx, archive, entries, sums)
	}
	if err != nil || reused {
		l.Digest, l.DiffID, l.Size, l.MediaType = candidate.Digest, candidate.diffID, candidate.Size, candidate.MediaType
		s.transfer.set(number, archive.Size())
		return l, reused, err
	}
	if err := s.upload(ctx, number, archive, &l); err != nil {
		return modelimage.Layer{}, false, failure.OfRegistry(err)
	}
	console.Logf(s.Log, "layer %d: sent %s, %s", number, console.Count(l.Files, "file"), console.Size(l.Bytes))
	return l, false, nil
}

// upload uploads a layer, compressed or not.
func (s *sender) upload(ctx context.Context, number int, archive source.Archive, l *modelimage.Layer) error {
	onProgress := func(bytes int64) { s.transfer.set(number, bytes) }
	if s.Zstd {
		return s.uploadCompressed(ctx, number, archive, l, onProgress)
	}
	var blob registry.Blob = archive
	hashed := &sentArchive{Archive: archive}
	if s.FileDigests {
		blob = hashed
	}
	var err error
	l.Size, l.MediaType = archive.Size(), types.OCIUncompressedLayer
	l.Digest, err = s.uploader.Upload(ctx, blob, onProgress)
	l.DiffID, s.digests[number] = l.Digest, hashed.digests
	return err
}

func (s *sender) uploadCompressed(ctx context.Context, number int, archive source.Archive, l *modelimage.Layer, onProgress func(bytes int64)) (err error) {
	// The two faster levels do not compress bfloat16 weights, and this one takes a
	// fifth off (the weights of test/bench).
	compression := engine.Zstandard(zstd.SpeedBetterCompression)
	blob := &engine.CompressedBlob{Archive: archive, Compression: compression, NewHash: sha256.New, OnRead: onProgress}
	if s.FileDigests {
		blob.NewHash = func() hash.Hash { return archive.Layout.NewHash() }
	}
	l.MediaType = compression.MediaType
	if l.Digest, err = s.uploader.Upload(ctx, blob, func(bytes int64) { l.Size = bytes }); err != nil {
		return err
	}
	if sums, ok := blob.Hash.(*layer.ArchiveHash); ok {
		s.digests[number] = sums.Files()
	}
	l.DiffID, err = v1.NewHash(blob.DiffID())
	return err
}

// allDigests returns the SHA-256 of the files of all layers by path.
func (s *sender) allDigests() map[string]string {
	all := map[string]string{}
	for _, ofLayer := range s.digests {
		maps.Copy(all, ofLayer)
	}
	return all
}

// existsOrMounts reports whether the registry has a blob in the target
// repository, or mounted it from another repository now.
func (s *sender) existsOrMounts(ctx context.Context, blob v1.Descriptor) (bool, error) {
	size, err := s.repository.Stat(ctx, blob.Digest)
	if registry.IsNotFound(err) {
		return slices.ContainsFunc(s.mountable, func(from name.Repository) bool { return s.uploader.Mount(ctx, blob.Digest, from) }), nil
	}
	if err != nil {
		return false, failure.OfRegistry(err)
	}
	return size == blob.Size || size == registry.UnknownSize, nil
}
