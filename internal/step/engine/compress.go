package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/modelkiln/modelkiln/internal/registry"
)

// Compression is how layers are compressed. The same archive gives the same bytes.
type Compression struct {
	// MediaType is that of the layers.
	MediaType types.MediaType
	// compress compresses what is written to the returned writer; nil is no compression.
	compress func(to io.Writer) (io.WriteCloser, error)
}

// Uncompressed leaves layers as they are.
var Uncompressed = Compression{MediaType: types.OCIUncompressedLayer}

// Gzip compresses at the fastest level.
var Gzip = Compression{types.OCILayer, func(to io.Writer) (io.WriteCloser, error) {
	return gzip.NewWriterLevel(to, gzip.BestSpeed)
}}

// zstdWindow is the window of Zstandard in bytes. A larger one gains nothing for weights,
// and every reader supports it.
const zstdWindow = 1 << 20

// Zstandard compresses at a level. Several archives are compressed at the same time, each
// by one goroutine.
func Zstandard(level zstd.EncoderLevel) Compression {
	return Compression{types.OCILayerZStd, func(to io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(level), zstd.WithWindowSize(zstdWindow))
	}}
}

// layer returns a small archive as a layer.
func (c Compression) layer(archive []byte) (v1.Layer, error) {
	content := bytes.NewBuffer(archive)
	if c.compress != nil {
		content = &bytes.Buffer{}
		encoder, err := c.compress(content)
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		if _, err := encoder.Write(archive); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		if err := encoder.Close(); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
	}
	diffID, _, err := v1.SHA256(bytes.NewReader(archive))
	return smallLayer{static.NewLayer(content.Bytes(), c.MediaType), diffID}, err
}

// smallLayer is a layer in memory.
type smallLayer struct {
	// Layer is the layer as it is stored, compressed or not.
	v1.Layer
	diffID v1.Hash
}

// DiffID returns the digest of the archive.
func (l smallLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// CopyBufferSize is how many bytes of an archive are read at a time.
const CopyBufferSize = 256 << 10

// CompressedBlob is an archive that is compressed while it is read. Its compression is
// not Uncompressed. To read from an offset, everything up to there is compressed once more.
type CompressedBlob struct {
	Archive     registry.Blob
	Compression Compression
	// OnRead is called with the number of bytes of the archive that were read.
	OnRead func(bytes int64)
	// NewHash returns the SHA-256 by which the archive is hashed, of which nothing was
	// written yet.
	NewHash func() hash.Hash
	// Hash is that of the archive, once it was read to its end.
	Hash hash.Hash
}

// DiffID returns the digest of the archive, which was read to its end.
func (b *CompressedBlob) DiffID() string { return "sha256:" + hex.EncodeToString(b.Hash.Sum(nil)) }

// Size returns -1, since the size is not known before the end.
func (b *CompressedBlob) Size() int64 { return -1 }

// Open returns a reader of the compressed archive from offset on.
func (b *CompressedBlob) Open(ctx context.Context, offset int64) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The reader gets the error.
		_ = in.CloseWithError(b.compressTo(ctx, in))
	}()
	return &compressedReader{PipeReader: out, skip: offset, cancel: cancel, done: done}
}

func (b *CompressedBlob) compressTo(ctx context.Context, to io.Writer) error {
	encoder, err := b.Compression.compress(to)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	content := b.Archive.Open(ctx, 0)
	defer func() { _ = content.Close() }()
	counter := &hashCounter{Hash: b.NewHash(), onWrite: b.OnRead}
	if _, err := io.CopyBuffer(io.MultiWriter(encoder, counter), readerOnly{content}, make([]byte, CopyBufferSize)); err != nil {
		_ = encoder.Close()
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	b.Hash = counter.Hash
	return nil
}

// readerOnly hides the other methods of a reader, so that io.CopyBuffer uses its
// buffer.
type readerOnly struct{ io.Reader }

// hashCounter hashes and counts what is written to it.
type hashCounter struct {
	hash.Hash
	bytes   int64
	onWrite func(bytes int64)
}

func (c *hashCounter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	c.onWrite(c.bytes)
	return c.Hash.Write(p)
}

type compressedReader struct {
	*io.PipeReader
	skip   int64
	cancel context.CancelFunc
	done   chan struct{}
}

func (r *compressedReader) Read(p []byte) (int, error) {
	if r.skip > 0 {
		skipped, err := io.CopyN(io.Discard, r.PipeReader, r.skip)
		r.skip -= skipped
		if err != nil {
			return 0, err
		}
	}
	return r.PipeReader.Read(p)
}

// Close stops compressing, and returns when the archive is no longer read.
func (r *compressedReader) Close() error {
	r.cancel()
	err := r.PipeReader.Close()
	<-r.done
	return err
}
