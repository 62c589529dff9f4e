package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fixedBlob is an archive in memory.
type fixedBlob []byte

func (b fixedBlob) Size() int64 { return int64(len(b)) }

func (b fixedBlob) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(bytes.NewReader(b[offset:]))
}

func TestCompressedBlob(t *testing.T) {
	archive := fixedBlob(bytes.Repeat([]byte("weights"), 400_000))
	decoders := map[string]struct {
		compression Compression
		decode      func(compressed io.Reader) (io.Reader, error)
	}{
		"Zstandard": {Zstandard(zstd.SpeedFastest), func(compressed io.Reader) (io.Reader, error) { return zstd.NewReader(compressed) }},
		"gzip":      {Gzip, func(compressed io.Reader) (io.Reader, error) { return gzip.NewReader(compressed) }},
	}
	for name, tt := range decoders {
		blob := &CompressedBlob{Archive: archive, Compression: tt.compression, NewHash: sha256.New, OnRead: func(int64) {}}
		read := func(offset int64) []byte {
			content := blob.Open(t.Context(), offset)
			all, err := io.ReadAll(content)
			require.NoError(t, err)
			require.NoError(t, content.Close())
			return all
		}
		full := read(0)

		t.Run(name+" has the digest of the archive", func(t *testing.T) {
			sum := sha256.Sum256(archive)
			assert.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), blob.DiffID())
		})
		t.Run(name+" can be decompressed", func(t *testing.T) {
			decoder, err := tt.decode(bytes.NewReader(full))
			require.NoError(t, err)
			got, err := io.ReadAll(decoder)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(archive, got))
		})
		t.Run(name+" can be read from any offset", func(t *testing.T) {
			for _, offset := range []int64{1, int64(len(full)) / 2, int64(len(full))} {
				assert.Equal(t, full[offset:], read(offset))
			}
		})
		t.Run(name+" can be closed before its end", func(t *testing.T) {
			content := blob.Open(t.Context(), 0)
			_, err := content.Read(make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, content.Close())
		})
	}
}
