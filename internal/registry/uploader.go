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
	// maxChunkSize is the maximum number of bytes that are sent in one request. A
	// proxy may limit the size of a request (nginx: 1 MiB by default) or its
	// duration.
	maxChunkSize = 512 << 20
	// minChunkSize is the smallest chunk size to which the uploader goes down in
	// search of such a limit. Some registries require 5 MiB, and return that limit.
	minChunkSize = 1 << 20
	// maxFailures is how many times in a row an upload may fail without progress.
	maxFailures = 8
	// initialBackoff and maxBackoff are the delays after one failure and after many.
	// Each delay is twice the previous one.
	initialBackoff = 500 * time.Millisecond
	maxBackoff     = 30 * time.Second
	// commitTimeout is how long a registry may take to respond: some read the whole
	// blob again at the end of an upload.
	commitTimeout = 15 * time.Minute
	// writeBufferSize is the size of a write to the connection, in bytes.
	writeBufferSize = 256 << 10
)

// Blob is content that can be uploaded. It can be read more than once, from any
// offset.
type Blob interface {
	// Size returns the length in bytes, or a negative number if the length is not
	// known before the end is read.
	Size() int64
	// Open returns a reader from an offset on.
	Open(ctx context.Context, offset int64) io.ReadCloser
}

// Uploader uploads blobs to a repository. It reads each blob once, and the digest is
// not known before the blob is sent. After a lost connection, a restart of the
// registry, a rate limit or a request size limit, the last request is repeated and
// not the whole blob.
type Uploader struct {
	repository *Repository
	client     *http.Client
	// ChunkSize is the maximum number of bytes that are sent in one request.
	ChunkSize int64
	// Wait waits between two attempts, or until the context ends.
	Wait func(ctx context.Context, delay time.Duration) error
}

// NewUploader logs in a second time, for uploads: the client of Repository would
// repeat a failed request from its start. Blobs can be mounted from the other
// repositories if they are in the same registry.
func (c Config) NewUploader(ctx context.Context, repository *Repository, others ...name.Repository) (*Uploader, error) {
	base, err := newTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	base.WriteBufferSize = writeBufferSize
	var inner http.RoundTripper = newTimeoutTransport(ctx, base, commitTimeout)
	if !repository.insecure {
		inner = httpsOnly{inner: inner}
	}
	inner = c.Credentials.renewing(inner, repository.name)
	auth, err := c.Credentials.ResolveContext(ctx, repository.name)
	if err != nil {
		return nil, &Error{Kind: Unauthorized, Message: err.Error(), Cause: err}
	}
	scopes := []string{repository.name.Scope(string(Push))}
	for _, other := range others {
		if other.RegistryStr() == repository.name.RegistryStr() {
			scopes = append(scopes, other.Scope(string(Pull)))
		}
	}
	authenticated, err := transport.NewWithContext(ctx, repository.name.Registry, auth, inner, scopes)
	if err != nil {
		return nil, repository.explainLogin(err)
	}
	return &Uploader{repository: repository, client: &http.Client{Transport: authenticated}, ChunkSize: maxChunkSize, Wait: wait}, nil
}

func wait(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Upload uploads a blob and returns the digest of what was sent. It calls progress
// with the offset in bytes, which can go back. An error of reading the blob is
// returned unchanged, and every other error is an *Error unless the context ended.
func (u *Uploader) Upload(ctx context.Context, blob Blob, progress func(offset int64)) (v1.Hash, error) {
	up := &upload{Uploader: u, blob: blob, progress: progress, chunkSize: u.ChunkSize}
	defer up.closeContent()
	failures := 0
	for {
		before := up.offset
		digest, err := up.resume(ctx)
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
		if !up.canResume(err) {
			return v1.Hash{}, u.repository.explain(err)
		}
		if isTooLarge(err) {
			// The next request is half as long.
			continue
		}
		if up.offset > before {
			failures = 0
		}
		if failures++; failures > maxFailures {
			return v1.Hash{}, u.repository.explain(err)
		}
		if err := u.Wait(ctx, backoff(err, failures)); err != nil {
			return v1.Hash{}, err
		}
	}
}

// Mount asks the registry to mount a blob from another repository of the same
// registry, and reports whether it did. Problems are left for the upload to find.
func (u *Uploader) Mount(ctx context.Context, digest v1.Hash, from name.Repository) bool {
	if from.RegistryStr() != u.repository.name.RegistryStr() {
		return false
	}
	query := url.Values{"mount": {digest.String()}, "from": {from.RepositoryStr()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.repository.url(uploadsPath)+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return false
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	if session, err := resp.Location(); err == nil && resp.StatusCode == http.StatusAccepted {
		// The registry has started an upload session instead.
		u.repository.cancelSession(ctx, u.client, session.String())
	}
	return resp.StatusCode == http.StatusCreated
}

// backoff returns the delay after a number of failures in a row, or what the
// registry asks for.
func backoff(err error, failures int) time.Duration {
	var busy retryAfterError
	if errors.As(err, &busy) && busy.retryAfter > 0 {
		return min(busy.retryAfter, 10*maxBackoff)
	}
	return min(initialBackoff<<(failures-1), maxBackoff)
}
