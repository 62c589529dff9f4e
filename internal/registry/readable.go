package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// emptyJSON is the content of the specification's empty blob
// (https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor).
type emptyJSON struct{}

func (emptyJSON) Size() int64 { return 2 }

func (emptyJSON) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(bytes.NewReader([]byte("{}")[offset:]))
}

// CheckReadable returns an error if the account may push to the repository but not
// read it. It pushes a blob of two bytes and asks for that. Some registries respond
// with 401 or 403 to a request for what does not exist: an account that reads what
// does exist can conclude that from them.
func (c Config) CheckReadable(ctx context.Context, r *Repository) error {
	uploader, err := c.NewUploader(ctx, r)
	if err != nil {
		return err
	}
	digest, err := uploader.Upload(ctx, emptyJSON{}, func(int64) {})
	if err != nil {
		return err
	}
	_, err = r.Stat(ctx, digest)
	var e *Error
	if errors.As(err, &e) && e.Kind == Unauthorized {
		e.Message = fmt.Sprintf("the account may push to %s but not read it, and a build never overwrites a tag that it cannot see: allow it to read the repository, too (%s)", r.name, e.Message)
	}
	return err
}
