// Package registry asks image registries what they hold. It is a thin layer on
// go-containerregistry that adds what Modelkiln promises: credentials from one
// push secret, private certificate authorities, plain HTTP for the hosts that
// the configuration names and for no other, and errors that people understand.
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Config says how to talk to registries.
type Config struct {
	// PlainHTTP lists the hosts, with their ports, that are talked to in plain
	// HTTP.
	PlainHTTP []string
	// CAFile is a PEM bundle of certificate authorities that are trusted
	// besides the system's. It need not exist.
	CAFile string
	// Credentials are used for every host that they have an entry for.
	Credentials Credentials
	// AnswerWithin is how long a registry may be silent; zero is a minute.
	AnswerWithin time.Duration
}

// Access is what a repository is opened for.
type Access string

// Kinds of access.
const (
	Pull Access = Access(transport.PullScope)
	Push Access = Access(transport.PushScope)
)

// Tag reads an image reference with a tag. One without a tag means latest.
func (c Config) Tag(image string) (name.Tag, error) {
	tag, err := name.NewTag(image)
	if err != nil {
		return name.Tag{}, fmt.Errorf("%q is not an image reference: write it as registry.example.com/models/resnet:v1", image)
	}
	if c.Plain(tag.RegistryStr()) {
		return name.NewTag(image, name.Insecure)
	}
	return tag, nil
}

// Reference reads an image reference with a tag or a digest.
func (c Config) Reference(image string) (name.Reference, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image reference: write it as registry.example.com/models/resnet:v1", image)
	}
	if c.Plain(ref.Context().RegistryStr()) {
		return name.ParseReference(image, name.Insecure)
	}
	return ref, nil
}

// Plain says whether a host is talked to in plain HTTP.
func (c Config) Plain(host string) bool {
	for _, plain := range c.PlainHTTP {
		if plain == host {
			return true
		}
	}
	return false
}

// Repository is a repository of a registry that has been logged in to.
type Repository struct {
	name    name.Repository
	plain   bool
	account string
	creds   Credentials
	// encrypted is for those who log in themselves, and transport has logged in.
	encrypted, transport http.RoundTripper
	puller               *remote.Puller
}

// retryStatusCodes are the answers after which a request is sent again.
var retryStatusCodes = []int{
	http.StatusRequestTimeout,
	http.StatusTooManyRequests,
	http.StatusInternalServerError,
	http.StatusBadGateway,
	http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
}

// Open logs in to a repository, for as long as the context lasts. Every error, here and of the methods, is an
// *Error, unless the context ended or the configuration is not usable.
func (c Config) Open(ctx context.Context, repository name.Repository, access Access) (*Repository, error) {
	base, err := newTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	var inner http.RoundTripper = bounded(ctx, base, cmp.Or(c.AnswerWithin, answerWithin))
	if !c.Plain(repository.RegistryStr()) {
		inner = encrypted{inner: inner}
	}
	anonymous := inner
	inner = transport.NewRetry(inner, transport.WithRetryStatusCodes(retryStatusCodes...))

	auth, err := c.Credentials.Resolve(repository)
	if err != nil {
		return nil, &Error{Kind: Unauthorized, Sentence: err.Error(), Cause: err}
	}
	r := &Repository{name: repository, plain: c.Plain(repository.RegistryStr()), account: c.Credentials.Account(repository), creds: c.Credentials, encrypted: anonymous}
	scopes := []string{repository.Scope(string(access))}
	r.transport, err = transport.NewWithContext(ctx, repository.Registry, auth, inner, scopes)
	if err != nil {
		return nil, r.explainLogin(err)
	}
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	r.puller, err = remote.NewPuller(remote.WithTransport(r.transport), remote.WithPlatform(platform))
	if err != nil {
		return nil, r.explain(err)
	}
	return r, nil
}

// CheckPush says whether the registry lets the build push. It begins an upload
// and takes it back, since nothing less is a proof for every registry.
func (r *Repository) CheckPush(ref name.Reference) error {
	return r.explain(remote.CheckPushPermission(ref, r.creds, r.transport))
}

// Write pushes an image: what the registry does not have of its layers and its
// config, and its manifest last. Layers that come from another repository of the
// same registry are mounted from there, if it offers that.
func (r *Repository) Write(ctx context.Context, tag name.Tag, image v1.Image) error {
	return r.explain(remote.Write(tag, image, remote.WithContext(ctx), remote.WithTransport(r.encrypted), remote.WithAuthFromKeychain(r.creds)))
}

// Get fetches a manifest.
func (r *Repository) Get(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	descriptor, err := r.puller.Get(ctx, ref)
	if err != nil {
		return nil, r.explain(err)
	}
	// A web server may have a page for every address.
	var manifest struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	err = json.Unmarshal(descriptor.Manifest, &manifest)
	if err != nil || (manifest.SchemaVersion == 0 && manifest.MediaType == "") {
		return nil, r.noRegistry(err)
	}
	return descriptor, nil
}

// Image returns the image that a manifest is of, in the variant for this node
// if there are several. That there is none is the one error that is no *Error.
func (r *Repository) Image(descriptor *remote.Descriptor) (v1.Image, error) {
	image, err := descriptor.Image()
	var answer *transport.Error
	var network net.Error
	if errors.As(err, &answer) || errors.As(err, &network) {
		return nil, r.explain(err)
	}
	return image, err
}

// BlobSize asks for a blob's size in bytes, without fetching it.
func (r *Repository) BlobSize(ctx context.Context, digest v1.Hash) (int64, error) {
	blob, err := r.puller.Layer(ctx, r.name.Digest(digest.String()))
	if err != nil {
		return 0, r.explain(err)
	}
	size, err := blob.Size()
	return size, r.explain(err)
}

// Explain turns an error that came up while reading what Get returned into an
// *Error.
func (r *Repository) Explain(err error) error { return r.explain(err) }

// address is where something of the repository is.
func (r *Repository) address(path string) string {
	scheme := "https"
	if r.plain {
		scheme = "http"
	}
	return scheme + "://" + r.name.RegistryStr() + "/v2/" + r.name.RepositoryStr() + path
}
