package image

import (
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// plainLayer is an uncompressed layer. go-containerregistry compresses every layer that it creates, whatever the options.
type plainLayer struct {
	open   func() (io.ReadCloser, error)
	digest v1.Hash
	size   int64
}

func newPlainLayer(open func() (io.ReadCloser, error)) (*plainLayer, error) {
	content, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	digest, size, err := v1.SHA256(content)
	return &plainLayer{open: open, digest: digest, size: size}, err
}

// Digest returns the digest of the blob, which is that of the tar stream too.
func (l *plainLayer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the digest of the tar stream. It and the following methods implement v1.Layer.
func (l *plainLayer) DiffID() (v1.Hash, error) { return l.digest, nil }

func (l *plainLayer) Compressed() (io.ReadCloser, error) { return l.open() }

func (l *plainLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }

func (l *plainLayer) Size() (int64, error) { return l.size, nil }

func (l *plainLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
