package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// errNothingIsSent ends an upload that was only announced.
var errNothingIsSent = errors.New("nothing is sent")

// announced is the body of an upload that is not made.
type announced struct{}

func (announced) Read([]byte) (int, error) { return 0, errNothingIsSent }
func (announced) Close() error             { return nil }

// CheckSize says whether the registry, or a proxy in front of it, refuses an
// upload of this many bytes for its size alone: an error of kind Full. It
// announces such an upload and takes it back before anything is sent (the
// expectation 100-continue, RFC 9110 section 10.1.1). Whatever else comes up is
// for the push to find, since not every registry answers such a question.
func (r *Repository) CheckSize(ctx context.Context, bytes int64) error {
	client := &http.Client{Transport: r.transport}
	upload, err := r.beginUpload(ctx, client)
	if err != nil {
		return err
	}
	defer r.cancelUpload(ctx, client, upload)

	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, upload, announced{})
	if err != nil {
		return nil
	}
	req.ContentLength = bytes
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue")
	answer, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer func() { _ = answer.Body.Close() }()
	err = r.explain(transport.CheckError(answer, http.StatusAccepted))
	var e *Error
	if errors.As(err, &e) && e.Kind == Full {
		return err
	}
	return nil
}

// beginUpload returns the address of an upload.
func (r *Repository) beginUpload(ctx context.Context, client *http.Client) (string, error) {
	at := r.address("/blobs/uploads/")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, http.NoBody)
	if err != nil {
		return "", r.explain(err)
	}
	answer, err := client.Do(req)
	if err != nil {
		return "", r.explain(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if err := transport.CheckError(answer, http.StatusAccepted); err != nil {
		return "", r.explain(err)
	}
	location, err := answer.Location()
	if err != nil {
		return "", r.explain(err)
	}
	return location.String(), nil
}

// cancelUpload takes an upload back. A registry that does not know that request
// forgets the upload by itself.
func (r *Repository) cancelUpload(ctx context.Context, client *http.Client, upload string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, upload, http.NoBody)
	if err != nil {
		return
	}
	if answer, err := client.Do(req); err == nil {
		_ = answer.Body.Close()
	}
}
