package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

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
	digest  hash.Cloner
	content io.ReadCloser
	// done is true when the whole blob was sent.
	done bool
	// last describes the last request with content.
	last request
	// reached is the highest offset of all sessions, and restarts counts the sessions
	// whose content was not what was sent.
	reached  int64
	restarts int
	// interruptions counts the requests that ended before the registry had read all of
	// them.
	interruptions int
	// committing is how long the upload has waited for the registry to process the
	// last request of the session; negative if it was not sent. processing is true if
	// only a gateway has responded to it.
	committing time.Duration
	processing bool
}

// request describes a request with content.
type request struct {
	// start and end are the offsets in the blob of what was handed to the connection.
	start, end int64
	// length is the number of bytes that the request announces or may have at most.
	length int64
	// first is true if it is the first one of its session.
	first bool
	// failed is true if the current error is that of this request.
	failed bool
}

// resume sends what is left, until an error occurs.
func (u *upload) resume(ctx context.Context) (v1.Hash, error) {
	u.last.failed = false
	if u.committing >= 0 {
		return u.resumeCommit(ctx)
	}
	if err := u.resumeOrStart(ctx); err != nil {
		return v1.Hash{}, err
	}
	for !u.done {
		if err := u.send(ctx); err != nil {
			return v1.Hash{}, err
		}
	}
	return u.sum(), u.commit(ctx)
}

// newHash returns the SHA-256 of a blob of which nothing was sent yet.
func newHash(blob Blob) hash.Cloner {
	if hashed, ok := blob.(HashedBlob); ok {
		return hashed.NewHash()
	}
	return sha256.New().(hash.Cloner)
}

// passHash passes the hash of what was sent to a blob with a hash of its own.
func (u *upload) passHash() {
	if hashed, ok := u.blob.(HashedBlob); ok {
		hashed.Sent(u.digest)
	}
}

// sum returns the digest of what the registry has.
func (u *upload) sum() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(u.digest.Sum(nil))}
}

// resumeOrStart queries the offset of the session after a failure, or starts a
// session.
func (u *upload) resumeOrStart(ctx context.Context) error {
	if u.location == "" || u.outOfSync && u.limits.isWhole() {
		return u.start(ctx)
	}
	if !u.outOfSync {
		return nil
	}
	resp, err := u.query(ctx)
	if isRejected(err) {
		// The registry has lost the session.
		return u.start(ctx)
	}
	if err != nil {
		return err
	}
	offset := parseRange(resp)
	if offset == 0 || offset < u.offset || offset > max(u.last.end, u.offset) {
		// The account cannot be right: the registry has confirmed more, or less was
		// sent. Registries that keep none of an interrupted request report nothing.
		return u.start(ctx)
	}
	if err := u.reread(ctx, offset); err != nil {
		return err
	}
	u.outOfSync = false
	return u.setLocation(resp)
}

// query asks for the offset of the session. The specification requires 204.
func (u *upload) query(ctx context.Context) (*http.Response, error) {
	return u.do(ctx, http.MethodGet, u.location, nil, 0, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
}

// start starts a new session.
func (u *upload) start(ctx context.Context) error {
	u.closeContent()
	u.location, u.outOfSync, u.done, u.offset, u.digest, u.committing, u.processing = "", false, false, 0, newHash(u.blob), -1, false
	u.last = request{first: true}
	u.progress(0)
	resp, err := u.do(ctx, http.MethodPost, u.repository.url(uploadsPath), nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	if minLength, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil {
		u.limits.atLeast(minLength)
	}
	return u.setLocation(resp)
}

// send sends the rest of the blob, or as much of it as a request may have.
func (u *upload) send(ctx context.Context) error {
	length := u.limits.length()
	if size := u.blob.Size(); size >= 0 {
		length = min(length, size-u.offset)
	}
	if length == 0 {
		u.done = true
		return nil
	}
	digest, err := u.digest.Clone()
	if err != nil {
		return err
	}
	if u.content == nil {
		u.content = u.blob.Open(ctx, u.offset)
	}
	body := &chunk{from: io.LimitReader(u.content, length), digest: digest, progress: u.progress, start: u.offset, offset: u.offset, closed: make(chan struct{})}
	resp, err := u.patch(ctx, body, length)
	switch {
	case body.err != nil:
		return readError{body.err}
	case err != nil:
		return err
	}
	u.outOfSync = false
	u.done = body.offset-u.offset < length
	u.offset, u.digest, u.reached = body.offset, digest, max(u.reached, body.offset)
	return u.setLocation(resp)
}

// patch sends a request with content, and returns the response if the registry has
// accepted all of it.
func (u *upload) patch(ctx context.Context, body *chunk, length int64) (*http.Response, error) {
	u.outOfSync = true
	sizeKnown := u.blob.Size() >= 0
	contentLength := length
	if !sizeKnown {
		contentLength = -1
	}
	// Amazon ECR responds with 201 and go-containerregistry accepts 204.
	resp, err := u.do(ctx, http.MethodPatch, u.location, body, contentLength, http.StatusAccepted, http.StatusCreated, http.StatusNoContent)
	if err != nil && !body.sent.Load() {
		// The request ended before the transport got it, because there were no
		// credentials for it, and nothing else closes the body.
		_ = body.Close()
	}
	// The transport may read the body even after it has returned.
	<-body.closed
	if err == nil && !body.isComplete(length, sizeKnown) {
		err = errPartialRead
	}
	u.last = request{start: body.start, end: body.offset, length: length, first: body.start == 0, failed: err != nil}
	if err != nil {
		// The position in the content is unknown.
		u.closeContent()
		return nil, err
	}
	return resp, nil
}

// commit ends the session with the digest of what was sent.
func (u *upload) commit(ctx context.Context) error {
	u.committing = max(u.committing, 0)
	location, err := url.Parse(u.location)
	if err != nil {
		return err
	}
	digest := u.sum()
	query := location.Query()
	query.Set("digest", digest.String())
	location.RawQuery = query.Encode()
	_, err = u.do(ctx, http.MethodPut, location.String(), nil, 0, http.StatusCreated, http.StatusNoContent, http.StatusAccepted, http.StatusOK)
	if err == nil || u.exists(ctx, digest) {
		return nil
	}
	if isContentRejected(err) {
		u.committing, u.location = -1, ""
		return contentError{err}
	}
	return err
}

// resumeCommit finds out what became of the last request of the session, to which
// there was no response, or only that of a gateway: the registry may still read the
// blob, and the session no longer exist.
func (u *upload) resumeCommit(ctx context.Context) (v1.Hash, error) {
	digest := u.sum()
	if u.exists(ctx, digest) {
		return digest, nil
	}
	resp, err := u.query(ctx)
	if err == nil && (parseRange(resp) == u.offset || u.offset <= 1) {
		if err := u.setLocation(resp); err != nil {
			return v1.Hash{}, err
		}
		return digest, u.commit(ctx)
	}
	if err == nil {
		err = errors.New("the upload session has another offset than before")
	}
	return v1.Hash{}, err
}

// exists reports whether the registry has the blob that was sent.
func (u *upload) exists(ctx context.Context, digest v1.Hash) bool {
	size, err := u.repository.Stat(ctx, digest)
	return err == nil && (size == u.offset || size == UnknownSize)
}

// reread advances the digest to the registry's offset.
func (u *upload) reread(ctx context.Context, offset int64) error {
	u.closeContent()
	u.content = u.blob.Open(ctx, u.offset)
	if _, err := io.CopyN(u.digest, u.content, offset-u.offset); err != nil {
		return readError{err}
	}
	u.offset, u.reached = offset, max(u.reached, offset)
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

// do sends a request and returns the response, or an error if its status is none of
// the given ones. A negative length is unknown.
func (u *upload) do(ctx context.Context, method, location string, body *chunk, length int64, statuses ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, location, http.NoBody)
	if err != nil {
		if body != nil {
			_ = body.Close()
		}
		return nil, err
	}
	if body != nil {
		req.Body, req.ContentLength = body, length
		req.Header.Set("Content-Type", "application/octet-stream")
		// A request with the whole blob is what every client sends. Some registries,
		// such as GitHub's, accept only small requests with a range.
		if whole := u.offset == 0 && length == u.blob.Size(); length > 0 && !whole {
			req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.offset+length-1))
		}
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, statuses...); err != nil {
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			return nil, retryAfterError{error: err, retryAfter: parseRetryAfter(resp)}
		}
		return nil, err
	}
	return resp, nil
}

// unlimited is the length of a request that has no limit.
const unlimited = math.MaxInt64
