package modelimage

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest window in bytes of a layer that is compressed with
// Zstandard: what RFC 8878 recommends that every decoder supports. The engines use
// 4 MiB at most. It bounds the memory that a hostile layer takes.
const maxWindow = 8 << 20

// InvalidError is the error of an image whose content is not what an engine
// writes, as opposed to an error of reading it.
type InvalidError struct {
	// Problem is a clause about the image.
	Problem string
}

func (e *InvalidError) Error() string { return e.Problem }

// Invalid returns an *InvalidError whose problem is formatted as by fmt.Sprintf.
func Invalid(format string, args ...any) error {
	return &InvalidError{Problem: fmt.Sprintf(format, args...)}
}

// DiffIDs returns the digests of the archives of an image's layers, "sha256:…".
func DiffIDs(config *v1.ConfigFile) []string {
	var diffIDs []string
	for _, diffID := range config.RootFS.DiffIDs {
		diffIDs = append(diffIDs, diffID.String())
	}
	return diffIDs
}

// Visit is called with each entry of an archive and its content.
type Visit func(header *tar.Header, content io.Reader) error

// ReadLayer reads a layer to its end, calls visit with every entry of its archive,
// and verifies the digest of the blob and that of the archive, diffID. So what visit
// saw counts only if ReadLayer returns no error. An archive of more than maxSize
// bytes is invalid. Memory use does not depend on the layer. The error is that of
// visit, an *InvalidError, or one of the registry.
func ReadLayer(layer v1.Layer, diffID string, maxSize int64, visit Visit) error {
	// It verifies the blob's digest when it is read to its end.
	blob, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer func() { _ = blob.Close() }()
	source := &errorKeeper{reader: blob}
	content, closeContent, err := decompress(source)
	if err != nil {
		return source.explain(err)
	}
	defer closeContent()
	archive := &hashReader{reader: io.LimitReader(content, maxSize+1), digest: sha256.New()}
	if err := visitEntries(archive, source, visit); err != nil {
		return err
	}
	if archive.bytes > maxSize {
		return Invalid("a layer has more than the expected %d bytes", maxSize)
	}
	if got := "sha256:" + hex.EncodeToString(archive.digest.Sum(nil)); got != diffID {
		return Invalid("the content of a layer has another digest than its diffID %s", diffID)
	}
	return nil
}

// visitEntries reads an archive to its end.
func visitEntries(archive *hashReader, source *errorKeeper, visit Visit) error {
	entries := tar.NewReader(archive)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return source.explain(err)
		}
		if err := visit(header, entries); err != nil {
			// The content may have failed while visit read it.
			if source.err != nil {
				return source.err
			}
			return err
		}
	}
	if _, err := io.Copy(padding{}, archive); err != nil {
		return source.explain(err)
	}
	return nil
}

// padding accepts what follows the last entry of an archive: zeros. Other readers
// could find more entries in anything else.
type padding struct{}

func (padding) Write(p []byte) (int, error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		return 0, errors.New("it has content after its end")
	}
	return len(p), nil
}

// decompress returns the archive in a blob, however it is compressed. Runtimes look
// at the content too, and not at the media type.
func decompress(blob io.Reader) (archive io.Reader, closeArchive func(), err error) {
	const bufferSize = 256 << 10
	buffered := bufio.NewReaderSize(blob, bufferSize)
	// A shorter blob is not compressed.
	magic, _ := buffered.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		reader, err := gzip.NewReader(buffered)
		return reader, func() {}, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		reader, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return reader, reader.Close, nil
	default:
		return buffered, func() {}, nil
	}
}

// errorKeeper keeps the error of reading a blob from the registry, so that it is
// distinguished from an error in the blob's content.
type errorKeeper struct {
	reader io.Reader
	err    error
}

func (k *errorKeeper) Read(p []byte) (int, error) {
	n, err := k.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		k.err = err
	}
	return n, err
}

// explain returns the registry's error, or else an *InvalidError.
func (k *errorKeeper) explain(err error) error {
	if k.err != nil {
		return k.err
	}
	return Invalid("a layer is not an archive: %v", err)
}

// hashReader hashes and counts what is read.
type hashReader struct {
	reader io.Reader
	digest hash.Hash
	bytes  int64
}

func (r *hashReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	r.bytes += int64(n)
	_, _ = r.digest.Write(p[:n]) // A digest never returns an error.
	return n, err
}
