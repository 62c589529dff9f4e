package step

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

// compressed is an archive that is compressed while it is read. To go on
// somewhere in it, all of it is compressed again up to there: the same program
// makes the same of it.
type compressed struct {
	archive source.Archive
	// read is told how much of the archive was read, in bytes.
	read func(bytes int64)
	// diffID is the digest of the archive, once that was read to its end.
	diffID string
}

// Size is not known before the end.
func (c *compressed) Size() int64 { return -1 }

// Open reads the compressed archive from an offset on.
func (c *compressed) Open(ctx context.Context, offset int64) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// A failure to close is the reader's to hear.
		_ = in.CloseWithError(c.compress(ctx, in))
	}()
	return &compressedReader{PipeReader: out, skip: offset, cancel: cancel, ended: ended}
}

func (c *compressed) compress(ctx context.Context, to io.Writer) error {
	// One archive is one stream: several are made at the same time. The two faster
	// levels leave bfloat16 weights as they are, and this one takes a fifth off
	// (test/bench's weights); a larger window finds no more in them.
	const window = 1 << 20
	encoder, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(window))
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	content := c.archive.Open(ctx, 0)
	defer func() { _ = content.Close() }()
	far := &readCount{Hash: sha256.New(), told: c.read}
	const bufferSize = 256 << 10
	if _, err := io.CopyBuffer(io.MultiWriter(encoder, far), onlyReader{content}, make([]byte, bufferSize)); err != nil {
		_ = encoder.Close()
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	c.diffID = "sha256:" + hex.EncodeToString(far.Sum(nil))
	return nil
}

// readCount hashes and counts.
type readCount struct {
	hash.Hash
	bytes int64
	told  func(bytes int64)
}

func (r *readCount) Write(p []byte) (int, error) {
	r.bytes += int64(len(p))
	r.told(r.bytes)
	return r.Hash.Write(p)
}

type compressedReader struct {
	*io.PipeReader
	skip   int64
	cancel context.CancelFunc
	ended  chan struct{}
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

// Close returns when nothing reads the archive any more.
func (r *compressedReader) Close() error {
	r.cancel()
	err := r.PipeReader.Close()
	<-r.ended
	return err
}
