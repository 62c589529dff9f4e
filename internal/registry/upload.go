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

// upload is one upload.
type upload struct {
	*Uploader
	blob Blob
	sent func(int64)
	// location is where to go on; empty is nowhere yet.
	location string
	// lost says that the last request failed, so that the registry has to be
	// asked how much of it has arrived.
	lost bool
	// at is how many bytes the registry is known to have, digest is of them, and
	// content is what comes next of the blob; nil when nothing reads it.
	at      int64
	digest  hash.Hash
	content io.ReadCloser
	// whole says that all of it was sent.
	whole bool
	// chunk is how much is sent in the next request at most, and length is how
	// much was to be sent in the last one.
	chunk, length int64
}

// goOn sends what is left, until something goes wrong.
func (u *upload) goOn(ctx context.Context) (v1.Hash, error) {
	if err := u.find(ctx); err != nil {
		return v1.Hash{}, err
	}
	for !u.whole {
		if err := u.send(ctx); err != nil {
			return v1.Hash{}, err
		}
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(u.digest.Sum(nil))}
	return digest, u.commit(ctx, digest)
}

// find begins the upload, or finds out where it is to go on.
func (u *upload) find(ctx context.Context) error {
	if u.location == "" {
		return u.begin(ctx)
	}
	if !u.lost {
		return nil
	}
	answer, err := u.do(ctx, http.MethodGet, u.location, nil, 0, http.StatusNoContent)
	if refused(err) {
		// The registry does not know the upload any more.
		return u.begin(ctx)
	}
	if err != nil {
		return err
	}
	arrived := arrivedOf(answer)
	if size := u.blob.Size(); arrived < u.at || size >= 0 && arrived > size {
		return u.begin(ctx)
	}
	if err := u.readAgain(ctx, arrived); err != nil {
		return err
	}
	u.lost = false
	return u.follow(answer)
}

// begin begins an upload from nothing.
func (u *upload) begin(ctx context.Context) error {
	u.stopReading()
	u.location, u.lost, u.whole, u.at, u.digest = "", false, false, 0, sha256.New()
	u.sent(0)
	at := u.repository.address("/blobs/uploads/")
	answer, err := u.do(ctx, http.MethodPost, at, nil, 0, http.StatusAccepted)
	if err != nil {
		return err
	}
	if least, err := strconv.ParseInt(answer.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil {
		u.chunk = max(u.chunk, least)
	}
	return u.follow(answer)
}

// send sends the next bytes.
func (u *upload) send(ctx context.Context) error {
	size, length := u.blob.Size(), u.chunk
	if size >= 0 {
		length = min(length, size-u.at)
	}
	if length == 0 {
		u.whole = true
		return nil
	}
	digest, err := clone(u.digest)
	if err != nil {
		return err
	}
	if u.content == nil {
		u.content = u.blob.Open(ctx, u.at)
	}
	body := &chunk{from: io.LimitReader(u.content, length), digest: digest, sent: u.sent, begin: u.at, at: u.at, closed: make(chan struct{})}
	u.lost, u.length = true, length
	announced := length
	if size < 0 {
		announced = -1
	}
	answer, err := u.do(ctx, http.MethodPatch, u.location, body, announced, http.StatusAccepted)
	// The transport may go on reading after it has returned.
	<-body.closed
	if err == nil && !body.isWhole(length, size >= 0) {
		err = errCutShort
	}
	if err != nil {
		// Not all of the chunk need have been read.
		u.stopReading()
	}
	switch {
	case body.err != nil:
		return readError{body.err}
	case err != nil:
		u.chunk = u.smaller(err)
		return err
	}
	u.lost = false
	u.whole = body.at < u.at+length
	u.at, u.digest = body.at, digest
	return u.follow(answer)
}

// smaller is how long the next chunk is after the last one has failed. One that
// is too large is halved; so is one that was cut, since there are registries
// which forget what they have of it.
func (u *upload) smaller(err error) int64 {
	var busy busyError
	if errors.As(err, &busy) {
		return u.chunk
	}
	return max(min(u.chunk, u.length)/2, min(smallestChunk, u.chunk))
}

// commit gives what was sent its name.
func (u *upload) commit(ctx context.Context, digest v1.Hash) error {
	at, err := url.Parse(u.location)
	if err != nil {
		return err
	}
	query := at.Query()
	query.Set("digest", digest.String())
	at.RawQuery = query.Encode()
	_, err = u.do(ctx, http.MethodPut, at.String(), nil, 0, http.StatusCreated)
	if err == nil {
		return nil
	}
	if size, unknown := u.repository.BlobSize(ctx, digest); unknown == nil && size == u.at {
		// The answer was lost, and nothing else.
		return nil
	}
	u.lost = true
	return err
}

// readAgain brings the digest to where the registry is.
func (u *upload) readAgain(ctx context.Context, arrived int64) error {
	u.stopReading()
	u.content = u.blob.Open(ctx, u.at)
	if _, err := io.CopyN(u.digest, u.content, arrived-u.at); err != nil {
		return readError{err}
	}
	u.at = arrived
	u.sent(arrived)
	return nil
}

// stopReading has the blob opened anew when more of it is needed.
func (u *upload) stopReading() {
	if u.content != nil {
		_ = u.content.Close()
		u.content = nil
	}
}

// follow takes the address at which the registry wants to go on.
func (u *upload) follow(answer *http.Response) error {
	next, err := answer.Location()
	if errors.Is(err, http.ErrNoLocation) && u.location != "" {
		return nil
	}
	if err != nil {
		return err
	}
	u.location = next.String()
	return nil
}

// do sends a request, which is answered by this status or with an error. A length
// below zero is not known.
func (u *upload) do(ctx context.Context, method, at string, body io.ReadCloser, length int64, status int) (*http.Response, error) {
	if body == nil {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	req.ContentLength = length
	if length != 0 {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if length > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.at, u.at+length-1))
	}
	answer, err := u.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := transport.CheckError(answer, status); err != nil {
		if answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable {
			return nil, busyError{error: err, retryAfter: retryAfter(answer)}
		}
		return nil, err
	}
	return answer, nil
}
