package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Repository is a repository of a registry to which the client has logged in.
type Repository struct {
	name        name.Repository
	insecure    bool
	account     string
	credentials Credentials
	tokens      tokens
	keychain    keychain
	// anonymous is the transport for requests that log in themselves, and
	// authenticated is the one that has logged in.
	anonymous, authenticated http.RoundTripper
	puller                   *remote.Puller
}

// retryStatusCodes are the status codes after which a request is retried.
var retryStatusCodes = []int{
	http.StatusRequestTimeout,
	http.StatusTooManyRequests,
	http.StatusInternalServerError,
	http.StatusBadGateway,
	http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
}

// Open logs in to a repository, until the context ends. Every error of Open and of
// the Repository's methods is an *Error, unless the context ended or the
// configuration is invalid.
func (c Config) Open(ctx context.Context, repository name.Repository, access Access) (*Repository, error) {
	base, err := NewTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	r := &Repository{name: repository, insecure: c.Insecure(repository.RegistryStr()), credentials: c.Credentials, keychain: keychain{ctx: ctx, credentials: c.Credentials}}
	var inner http.RoundTripper = recorder{inner: NewTimeoutTransport(ctx, base, cmp.Or(c.IdleTimeout, idleTimeout)), tokens: &r.tokens}
	inner = headTransport{inner: manifestLimit{inner: inner}}
	if !c.Insecure(repository.RegistryStr()) {
		inner = httpsOnly{inner: inner}
	}
	inner = c.Credentials.renewing(inner, repository)
	r.anonymous = inner
	inner = transport.NewRetry(inner, transport.WithRetryStatusCodes(retryStatusCodes...))

	auth, err := c.Credentials.Resolve(ctx, repository)
	if err != nil {
		return nil, &Error{Kind: Unauthorized, Message: err.Error(), Cause: err}
	}
	r.account = c.Credentials.Account(repository)
	scopes := []string{repository.Scope(string(access))}
	r.authenticated, err = transport.NewWithContext(ctx, repository.Registry, auth, inner, scopes)
	if err != nil {
		return nil, r.explainLogin(err)
	}
	r.puller, err = remote.NewPuller(remote.WithTransport(r.authenticated))
	if err != nil {
		return nil, r.explain(err)
	}
	return r, nil
}

// CheckPush returns an error if the registry does not permit the build to push. It
// starts an upload session and cancels it, because nothing less is conclusive on
// every registry.
func (r *Repository) CheckPush(ref name.Reference) error {
	return r.explain(remote.CheckPushPermission(ref, r.keychain, r.authenticated))
}

// Push pushes an image: its config and those of its layers that the registry does
// not have, and its manifest last. Layers that come from another repository of the
// same registry are mounted from there, if the registry supports that.
func (r *Repository) Push(ctx context.Context, tag name.Tag, image v1.Image) error {
	return r.explain(remote.Write(tag, image, remote.WithContext(ctx), remote.WithTransport(r.anonymous), remote.WithAuthFromKeychain(r.keychain)))
}

// Tag has a tag refer to a manifest that the registry has.
func (r *Repository) Tag(ctx context.Context, tag name.Tag, manifest *remote.Descriptor) error {
	return r.explain(remote.Tag(tag, manifest, remote.WithContext(ctx), remote.WithTransport(r.anonymous), remote.WithAuthFromKeychain(r.keychain)))
}

// Fetch returns the manifest of a reference.
func (r *Repository) Fetch(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	descriptor, err := r.puller.Get(ctx, ref)
	if err != nil {
		return nil, r.explain(err)
	}
	// A web server may respond to every URL with a page.
	var manifest struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	err = json.Unmarshal(descriptor.Manifest, &manifest)
	if err != nil || (manifest.SchemaVersion == 0 && manifest.MediaType == "") {
		return nil, r.notARegistry(err)
	}
	return descriptor, nil
}

// UnknownSize is the size of a blob that a registry has, and whose size it does not
// tell.
const UnknownSize = -1

// Stat returns a blob's size in bytes, or UnknownSize, without fetching the blob.
func (r *Repository) Stat(ctx context.Context, digest v1.Hash) (int64, error) {
	blob, err := r.puller.Layer(ctx, r.name.Digest(digest.String()))
	if err != nil {
		return 0, r.explain(err)
	}
	size, err := blob.Size()
	return size, r.explain(err)
}

// redact replaces what must not appear in messages and logs: the credentials, the tokens
// and the queries of URLs.
func (r *Repository) redact(message string) string {
	return RedactQueries(r.tokens.redact(r.credentials.redact(message)))
}

// Explain returns an error that occurred while reading what Fetch returned as an
// *Error.
func (r *Repository) Explain(err error) error { return r.explain(err) }

// url returns the URL of a path below the repository.
func (r *Repository) url(path string) string {
	scheme := "https"
	if r.insecure {
		scheme = "http"
	}
	return scheme + "://" + r.name.RegistryStr() + "/v2/" + r.name.RepositoryStr() + path
}
