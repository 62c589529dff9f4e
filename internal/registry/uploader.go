package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
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
