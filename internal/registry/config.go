package registry

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Config configures the access to registries.
type Config struct {
	// PlainHTTP lists the hosts, with their ports, that are accessed over plain
	// HTTP.
	PlainHTTP []string
	// CAFile is a PEM bundle of certificate authorities that are trusted in
	// addition to the system's. It need not exist.
	CAFile string
	// Credentials are used for the repositories that they match.
	Credentials Credentials
	// IdleTimeout is how long a registry may stay silent; the default is one minute.
	IdleTimeout time.Duration
}

// Access is the kind of access for which a repository is opened.
type Access string

// Kinds of access.
const (
	Pull Access = Access(transport.PullScope)
	Push Access = Access(transport.PushScope)
)

// Tag parses an image reference with a tag, which defaults to latest.
func (c Config) Tag(image string) (name.Tag, error) {
	tag, err := name.NewTag(image)
	if err != nil {
		return name.Tag{}, invalidReference(image)
	}
	if c.Insecure(tag.RegistryStr()) {
		return name.NewTag(image, name.Insecure)
	}
	return tag, nil
}

// Reference parses an image reference with a tag or a digest.
func (c Config) Reference(image string) (name.Reference, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, invalidReference(image)
	}
	if c.Insecure(ref.Context().RegistryStr()) {
		return name.ParseReference(image, name.Insecure)
	}
	return ref, nil
}

func invalidReference(image string) error {
	return fmt.Errorf("%q is not an image reference: write it as registry.example.com/models/resnet:v1", image)
}

// Insecure reports whether a host is accessed over plain HTTP.
func (c Config) Insecure(host string) bool { return slices.Contains(c.PlainHTTP, host) }
