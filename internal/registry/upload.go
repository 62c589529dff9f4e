package registry

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// largestChunk is how much of a blob is sent in one request. A proxy may set
	// a limit to that (nginx: 1 MiB unless told otherwise), or to the time.
	largestChunk = 512 << 20
	// smallestChunk is how far a chunk shrinks in search of such a limit. Some
	// registries want 5 MiB, and say so.
	smallestChunk = 1 << 20
	// maxSetbacks is how often in a row an upload may fail without getting any
	// further, before it is given up.
	maxSetbacks = 8
	// firstWait and longestWait are how long is waited after one setback, and
	// after many. Each wait is twice the one before.
	firstWait   = 500 * time.Millisecond
	longestWait = 30 * time.Second
	// commitWithin is how long a registry may take to answer: at the end of an
	// upload some read all of it once more.
	commitWithin = 15 * time.Minute
	// writeBuffer is how much is handed to the system at a time, in bytes.
	writeBuffer = 256 << 10
)

// Blob is what can be uploaded: readable more than once, and from anywhere.
type Blob interface {
	// Size is its length in bytes; below zero when that is not known before its
	// end.
	Size() int64
	// Open reads it from an offset on.
	Open(ctx context.Context, offset int64) io.ReadCloser
}

// Uploader uploads blobs to a repository, in one pass over each: its digest is
// not known before it is sent. A connection that is cut, a registry that is
// restarted or busy, and a limit to the size of a request cost what was sent
// last and not the whole blob.
type Uploader struct {
	repository *Repository
	client     *http.Client
	// Chunk is how much is sent in one request at most, in bytes.
	Chunk int64
	// Wait waits between two attempts, or until the context ends.
	Wait func(ctx context.Context, time time.Duration) error
}

// NewUploader logs in once more, for uploads: the requests of Repository are
// repeated after a failure from their beginning. Blobs may be mounted from the
// other repositories, where they are of the same registry.
func (c Config) NewUploader(ctx context.Context, repository *Repository, others ...name.Repository) (*Uploader, error) {
	base, err := newTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	base.WriteBufferSize = writeBuffer
	var inner http.RoundTripper = bounded(ctx, base, commitWithin)
	if !repository.plain {
		inner = encrypted{inner: inner}
	}
	auth, err := c.Credentials.Resolve(repository.name)
	if err != nil {
		return nil, &Error{Kind: Unauthorized, Sentence: err.Error(), Cause: err}
	}
	scopes := []string{repository.name.Scope(string(Push))}
	for _, other := range others {
		if other.RegistryStr() == repository.name.RegistryStr() {
			scopes = append(scopes, other.Scope(string(Pull)))
		}
	}
	login, err := transport.NewWithContext(ctx, repository.name.Registry, auth, inner, scopes)
	if err != nil {
		return nil, repository.explainLogin(err)
	}
	return &Uploader{repository: repository, client: &http.Client{Transport: login}, Chunk: largestChunk, Wait: wait}, nil
}

func wait(ctx context.Context, long time.Duration) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Upload uploads a blob, and returns the digest of what was sent. sent is told
// how far the upload is, in bytes, which can be less than before. An error of
// reading the blob is returned as it is, and any other one is an *Error unless
// the context ended.
func (u *Uploader) Upload(ctx context.Context, blob Blob, sent func(bytes int64)) (v1.Hash, error) {
	up := &upload{Uploader: u, blob: blob, sent: sent, chunk: u.Chunk}
	defer up.stopReading()
	setbacks := 0
	for {
		before := up.at
		digest, err := up.goOn(ctx)
		if err == nil {
			return digest, nil
		}
		var read readError
		if errors.As(err, &read) {
			return v1.Hash{}, read.error
		}
		if ctx.Err() != nil {
			return v1.Hash{}, ctx.Err()
		}
		if !up.canGoOn(err) {
			return v1.Hash{}, u.repository.explain(err)
		}
		if isTooLarge(err) {
			// The next request is half as long.
			continue
		}
		if up.at > before {
			setbacks = 0
		}
		if setbacks++; setbacks > maxSetbacks {
			return v1.Hash{}, u.repository.explain(err)
		}
		if err := u.Wait(ctx, pause(err, setbacks)); err != nil {
			return v1.Hash{}, err
		}
	}
}

// Mount has the registry take a blob from another repository of its own, if it
// has the blob there and offers that, and says whether it did. What comes up
// beside that is for the upload to find.
func (u *Uploader) Mount(ctx context.Context, digest v1.Hash, from name.Repository) bool {
	if from.RegistryStr() != u.repository.name.RegistryStr() {
		return false
	}
	query := url.Values{"mount": {digest.String()}, "from": {from.RepositoryStr()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.repository.address("/blobs/uploads/")+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return false
	}
	answer, err := u.client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = answer.Body.Close() }()
	if upload, err := answer.Location(); err == nil && answer.StatusCode == http.StatusAccepted {
		// It has begun an upload instead.
		u.repository.cancelUpload(ctx, u.client, upload.String())
	}
	return answer.StatusCode == http.StatusCreated
}

// pause is how long to wait after so many setbacks in a row, or as long as the
// registry asks for.
func pause(err error, setbacks int) time.Duration {
	var busy busyError
	if errors.As(err, &busy) && busy.retryAfter > 0 {
		return min(busy.retryAfter, 10*longestWait)
	}
	return min(firstWait<<(setbacks-1), longestWait)
}

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

// canGoOn says whether an upload that has failed so may go on from where it is.
func (u *upload) canGoOn(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return badCertificate(err) == ""
	}
	switch code := answer.StatusCode; code {
	case http.StatusRequestEntityTooLarge:
		return u.length > smallestChunk
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest:
		// A login that has run out, an upload that was forgotten or that is
		// somewhere else than it was thought to be.
		return u.location != ""
	default:
		return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError && code != http.StatusInsufficientStorage
	}
}

// isTooLarge says that a request was longer than the registry, or a proxy in
// front of it, takes.
func isTooLarge(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusRequestEntityTooLarge
}

// refused says that the registry has answered, and not with what was asked for.
func refused(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode >= http.StatusBadRequest && answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests
}

// arrivedOf is how many bytes of an upload have arrived by what the registry
// says: "0-N" for N+1 bytes, and "0-0" for none.
func arrivedOf(answer *http.Response) int64 {
	_, last, _ := strings.Cut(answer.Header.Get("Range"), "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil || end <= 0 {
		return 0
	}
	return end + 1
}

// retryAfter is how long the registry asks to wait, or 0.
func retryAfter(answer *http.Response) time.Duration {
	after := answer.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

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

// errCutShort says that the registry has answered before it had all of a request.
var errCutShort = errors.New("the registry did not take all of a request")

// readError says that the blob could not be read.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// busyError says that the registry wants to be left alone for a while.
type busyError struct {
	error
	retryAfter time.Duration
}

func (e busyError) Unwrap() error { return e.error }

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
