package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/modelkiln/modelkiln/internal/step/source"
)

// zstdBlob is an archive that is compressed while it is read. To read from an
// offset, everything up to there is compressed once more: the same encoder gives
// the same bytes.
type zstdBlob struct {
	archive source.Archive
	// onRead is called with the number of bytes of the archive that were read.
	onRead func(bytes int64)
	// diffID is the digest of the archive, once it was read to its end.
	diffID string
}

// Size returns -1, since the size is not known before the end.
func (b *zstdBlob) Size() int64 { return -1 }

// Open returns a reader of the compressed archive from offset on.
func (b *zstdBlob) Open(ctx context.Context, offset int64) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The reader gets the error.
		_ = in.CloseWithError(b.compress(ctx, in))
	}()
	return &zstdReader{PipeReader: out, skip: offset, cancel: cancel, done: done}
}

func (b *zstdBlob) compress(ctx context.Context, to io.Writer) error {
	// Several archives are compressed at the same time, each by one goroutine.
	// The two faster levels do not compress bfloat16 weights, and this one takes a
	// fifth off (the weights of test/bench); a larger window gains nothing.
	const window = 1 << 20
	encoder, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(window))
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	content := b.archive.Open(ctx, 0)
	defer func() { _ = content.Close() }()
	counter := &hashCounter{Hash: sha256.New(), onWrite: b.onRead}
	if _, err := io.CopyBuffer(io.MultiWriter(encoder, counter), readerOnly{content}, make([]byte, copyBufferSize)); err != nil {
		_ = encoder.Close()
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	b.diffID = "sha256:" + hex.EncodeToString(counter.Sum(nil))
	return nil
}

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

type zstdReader struct {
	*io.PipeReader
	skip   int64
	cancel context.CancelFunc
	done   chan struct{}
}

func (r *zstdReader) Read(p []byte) (int, error) {
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
func (r *zstdReader) Close() error {
	r.cancel()
	err := r.PipeReader.Close()
	<-r.done
	return err
}
