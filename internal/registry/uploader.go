package registry

import (
	"context"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// maxFailures is how many times in a row an upload may fail without progress, and
	// maxRestarts how many times a registry may have received other content than was
	// sent.
	maxFailures = 8
	maxRestarts = 3
	// initialBackoff and maxBackoff are the delays after one failure and after many.
	// Each delay is twice the previous one.
	initialBackoff = 500 * time.Millisecond
	maxBackoff     = 30 * time.Second
	// commitTimeout is how long a registry may take to respond: some read the whole
	// blob again at the end of an upload. A gateway in front of it may respond
	// earlier, so that an upload waits as long for the blob to appear.
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

// HashedBlob is a Blob whose SHA-256 also hashes its parts.
type HashedBlob interface {
	Blob
	// NewHash returns a SHA-256 of which nothing was written yet.
	NewHash() hash.Cloner
	// Sent is called with the SHA-256 of the whole blob, as the registry has it.
	Sent(hash.Cloner)
}

// Uploader uploads blobs to a repository. It reads each blob once, and the digest is
// not known before the blob is sent. A blob is one request, as every client sends it,
// because some registries accept no more. After a lost connection, a restart of the
// registry or a rate limit, the upload resumes at the offset that the registry
// reports. Requests become smaller only if a large one was refused or interrupted.
type Uploader struct {
	repository *Repository
	client     *http.Client
	limits     requestLimits
	// Wait waits between two attempts, or until the context ends.
	Wait func(ctx context.Context, delay time.Duration) error
}

// NewUploader logs in a second time, for uploads: the client of Repository would
// repeat a failed request from its start. Blobs can be mounted from the other
// repositories if they are in the same registry.
func (c Config) NewUploader(ctx context.Context, repository *Repository, others ...name.Repository) (*Uploader, error) {
	base, err := NewTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	base.WriteBufferSize = writeBufferSize
	var inner http.RoundTripper = sendOnce{inner: NewTimeoutTransport(ctx, base, commitTimeout)}
	if !repository.insecure {
		inner = httpsOnly{inner: inner}
	}
	inner = c.Credentials.renewing(inner, repository.name)
	auth, err := c.Credentials.Resolve(ctx, repository.name)
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
	return &Uploader{repository: repository, client: &http.Client{Transport: authenticated}, Wait: wait}, nil
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
	up := &upload{Uploader: u, blob: blob, progress: progress, committing: -1}
	defer up.closeContent()
	failures := 0
	for {
		reached := up.reached
		digest, err := up.resume(ctx)
		if err == nil {
			up.passHash()
			return digest, nil
		}
		var read readError
		if errors.As(err, &read) {
			return v1.Hash{}, read.error
		}
		if ctx.Err() != nil {
			return v1.Hash{}, ctx.Err()
		}
		if up.reached > reached {
			failures = 0
		}
		switch up.after(err) {
		case giveUp:
			return v1.Hash{}, u.repository.explain(err)
		case retryNow:
			continue
		case retryLater:
		}
		if failures++; failures > maxFailures && !up.isProcessing() {
			return v1.Hash{}, u.repository.explain(err)
		}
		delay := backoff(err, failures)
		if up.committing >= 0 {
			up.committing += delay
		}
		if err := u.Wait(ctx, delay); err != nil {
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

// cancelSession cancels an upload session. A registry that does not support this
// removes the session after a while.
func (r *Repository) cancelSession(ctx context.Context, client *http.Client, session string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, session, http.NoBody)
	if err != nil {
		return
	}
	if resp, err := client.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// backoff returns the delay after a number of failures in a row, or what the
// registry asks for.
func backoff(err error, failures int) time.Duration {
	var busy retryAfterError
	if errors.As(err, &busy) && busy.retryAfter > 0 {
		return min(busy.retryAfter, 10*maxBackoff)
	}
	return min(initialBackoff<<min(failures-1, maxFailures), maxBackoff)
}
