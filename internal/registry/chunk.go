package registry

import (
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
)

// chunk is the body of a request.
type chunk struct {
	from   io.Reader
	digest hash.Hash
	sent   func(int64)
	at     int64
	// begin is where it begins.
	begin int64
	// err is why the blob could not be read, and ended says that it was, to its
	// end or the chunk's.
	err    error
	ended  bool
	closed chan struct{}
}

func (c *chunk) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.digest.Write(p[:n])
	c.at += int64(n)
	c.sent(c.at)
	switch {
	case errors.Is(err, io.EOF):
		c.ended = true
	case err != nil:
		c.err = err
	}
	return n, err
}

// isWhole says that all of the chunk was read: as much as it was to be, or where
// that was not known, up to its end.
func (c *chunk) isWhole(length int64, known bool) bool {
	return c.at-c.begin == length || !known && c.ended
}

func (c *chunk) Close() error {
	select {
	case <-c.closed:
		return nil
	default:
		close(c.closed)
		return nil
	}
}

// errCutShort says that the registry has answered before it had all of a request.
var errCutShort = errors.New("the registry did not take all of a request")

// readError says that the blob could not be read.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// clone copies the state of a SHA-256.
func clone(digest hash.Hash) (hash.Hash, error) {
	state, err := digest.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("copy a digest: %w", err)
	}
	copied := sha256.New()
	if err := copied.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("copy a digest: %w", err)
	}
	return copied, nil
}
