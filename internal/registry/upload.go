package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// uploadsPath is where upload sessions start, below the repository.
const uploadsPath = "/blobs/uploads/"

// upload is the upload of one blob.
type upload struct {
	*Uploader
	blob     Blob
	progress func(int64)
	// location is the URL for the session's next request; empty if there is no
	// session.
	location string
	// outOfSync is true after a failed request, when the session's offset must be
	// queried.
	outOfSync bool
	// offset is how many bytes the registry is known to have, digest is of those
	// bytes, and content reads the blob from there; nil if the blob is not open.
	offset  int64
	digest  hash.Hash
	content io.ReadCloser
	// done is true when the whole blob was sent.
	done bool
	// chunkSize is the maximum length of the next request, and length is that of the
	// last one.
	chunkSize, length int64
}

// resume sends what is left, until an error occurs.
func (u *upload) resume(ctx context.Context) (v1.Hash, error) {
	if err := u.resumeOrStart(ctx); err != nil {
		return v1.Hash{}, err
	}
	for !u.done {
		if err := u.send(ctx); err != nil {
			return v1.Hash{}, err
		}
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(u.digest.Sum(nil))}
	return digest, u.commit(ctx, digest)
}

// resumeOrStart queries the offset of the session after a failure, or starts a
// session.
func (u *upload) resumeOrStart(ctx context.Context) error {
	if u.location == "" {
		return u.start(ctx)
	}
	if !u.outOfSync {
		return nil
	}
	resp, err := u.do(ctx, http.MethodGet, u.location, nil, 0, http.StatusNoContent)
	if isRejected(err) {
		// The registry has lost the session.
		return u.start(ctx)
	}
	if err != nil {
		return err
	}
	offset := parseRange(resp)
	if size := u.blob.Size(); offset < u.offset || size >= 0 && offset > size {
		return u.start(ctx)
	}
	if err := u.reread(ctx, offset); err != nil {
		return err
	}
	u.outOfSync = false
	return u.setLocation(resp)
}

// start starts a new session.
func (u *upload) start(ctx context.Context) error {
	u.closeContent()
	u.location, u.outOfSync, u.done, u.offset, u.digest = "", false, false, 0, sha256.New()
	u.progress(0)
	resp, err := u.do(ctx, http.MethodPost, u.repository.url(uploadsPath), nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	if minLength, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil {
		u.chunkSize = max(u.chunkSize, min(minLength, maxChunkSize))
	}
	return u.setLocation(resp)
}

// send sends the next chunk.
func (u *upload) send(ctx context.Context) error {
	size, length := u.blob.Size(), u.chunkSize
	if size >= 0 {
		length = min(length, size-u.offset)
	}
	if length == 0 {
		u.done = true
		return nil
	}
	digest, err := clone(u.digest)
	if err != nil {
		return err
	}
	if u.content == nil {
		u.content = u.blob.Open(ctx, u.offset)
	}
	body := &chunk{from: io.LimitReader(u.content, length), digest: digest, progress: u.progress, start: u.offset, offset: u.offset, closed: make(chan struct{})}
	u.outOfSync, u.length = true, length
	contentLength := length
	if size < 0 {
		contentLength = -1
	}
	resp, err := u.do(ctx, http.MethodPatch, u.location, body, contentLength, http.StatusAccepted)
	// The transport may read the body even after it has returned.
	<-body.closed
	if err == nil && !body.isComplete(length, size >= 0) {
		err = errPartialRead
	}
	if err != nil {
		// The position in the content is unknown.
		u.closeContent()
	}
	switch {
	case body.err != nil:
		return readError{body.err}
	case err != nil:
		u.chunkSize = u.nextChunkSize(err)
		return err
	}
	u.outOfSync = false
	u.done = body.offset < u.offset+length
	u.offset, u.digest = body.offset, digest
	return u.setLocation(resp)
}

// nextChunkSize returns the chunk size after a failed request. It is halved if the
// request was too large, and also if it was interrupted, because some registries
// discard what they have of an interrupted request.
func (u *upload) nextChunkSize(err error) int64 {
	var busy retryAfterError
	if errors.As(err, &busy) {
		return u.chunkSize
	}
	return max(min(u.chunkSize, u.length)/2, min(minChunkSize, u.chunkSize))
}

// commit ends the session with the digest of what was sent.
func (u *upload) commit(ctx context.Context, digest v1.Hash) error {
	location, err := url.Parse(u.location)
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", digest.String())
	location.RawQuery = query.Encode()
	_, err = u.do(ctx, http.MethodPut, location.String(), nil, 0, http.StatusCreated)
	if err == nil {
		return nil
	}
	if size, statErr := u.repository.Stat(ctx, digest); statErr == nil && size == u.offset {
		// Only the response was lost.
		return nil
	}
	u.outOfSync = true
	return err
}

// reread advances the digest to the registry's offset.
func (u *upload) reread(ctx context.Context, offset int64) error {
	u.closeContent()
	u.content = u.blob.Open(ctx, u.offset)
	if _, err := io.CopyN(u.digest, u.content, offset-u.offset); err != nil {
		return readError{err}
	}
	u.offset = offset
	u.progress(offset)
	return nil
}

// closeContent closes the blob, which is reopened when more of it is needed.
func (u *upload) closeContent() {
	if u.content != nil {
		_ = u.content.Close()
		u.content = nil
	}
}

// setLocation sets the URL for the next request from a response.
func (u *upload) setLocation(resp *http.Response) error {
	next, err := resp.Location()
	if errors.Is(err, http.ErrNoLocation) && u.location != "" {
		return nil
	}
	if err != nil {
		return err
	}
	u.location = next.String()
	return nil
}

// do sends a request and returns the response, or an error if its status is not the
// given one. A negative length is unknown.
func (u *upload) do(ctx context.Context, method, location string, body io.ReadCloser, length int64, status int) (*http.Response, error) {
	if body == nil {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, method, location, body)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	req.ContentLength = length
	if length != 0 {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if length > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.offset+length-1))
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, status); err != nil {
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			return nil, retryAfterError{error: err, retryAfter: parseRetryAfter(resp)}
		}
		return nil, err
	}
	return resp, nil
}
