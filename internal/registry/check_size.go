package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// errProbeOnly ends an upload that is only announced.
var errProbeOnly = errors.New("only the size is announced")

// probeBody is the body of a request that announces an upload and sends nothing.
type probeBody struct{}

func (probeBody) Read([]byte) (int, error) { return 0, errProbeOnly }
func (probeBody) Close() error             { return nil }

// CheckSize returns an error of kind QuotaExceeded if the registry, or a proxy in
// front of it, rejects an upload of this many bytes for its size. It announces such
// an upload and cancels it before anything is sent (Expect: 100-continue, RFC 9110
// section 10.1.1). Other problems are left for the push to find, because not every
// registry supports this.
func (r *Repository) CheckSize(ctx context.Context, bytes int64) error {
	client := &http.Client{Transport: r.authenticated}
	session, err := r.startSession(ctx, client)
	if err != nil {
		return err
	}
	defer r.cancelSession(ctx, client, session)

	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, session, probeBody{})
	if err != nil {
		return nil
	}
	req.ContentLength = bytes
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue")
	resp, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	err = r.explain(transport.CheckError(resp, http.StatusAccepted))
	var e *Error
	if errors.As(err, &e) && e.Kind == QuotaExceeded {
		return err
	}
	return nil
}

// startSession starts an upload session and returns its URL.
func (r *Repository) startSession(ctx context.Context, client *http.Client) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url(uploadsPath), http.NoBody)
	if err != nil {
		return "", r.explain(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", r.explain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, http.StatusAccepted); err != nil {
		return "", r.explain(err)
	}
	location, err := resp.Location()
	if err != nil {
		return "", r.explain(err)
	}
	return location.String(), nil
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
