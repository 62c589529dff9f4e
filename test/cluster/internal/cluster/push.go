package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
)

// PushImage pushes Modelkiln's image to a registry, for a real cluster to pull it from, and gives the reference that
// names this very image. The credentials are those that docker login and its like have left.
func (c *Cluster) PushImage(ctx context.Context, to string, plainHTTP bool) (string, error) {
	ref, err := parseTarget(to, plainHTTP)
	if err != nil {
		return "", err
	}
	if err := golang.CheckVersion(ctx, c.checkout.Source()); err != nil {
		return "", err
	}
	programs, err := os.MkdirTemp("", "modelkiln-image-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(programs) }()
	c.report.Logf("compiling Modelkiln")
	spec, err := c.modelkilnImage(ctx, programs)
	if err != nil {
		return "", err
	}
	c.report.Logf("pushing to %s", ref)
	return push(ctx, spec, ref)
}

// parseTarget reads the name that an image is to be pushed to. A tag is asked for, because one that nobody chose is latest.
func parseTarget(to string, plainHTTP bool) (name.Tag, error) {
	options := []name.Option{name.StrictValidation}
	if plainHTTP {
		options = append(options, name.Insecure)
	}
	ref, err := name.NewTag(to, options...)
	if err != nil {
		return name.Tag{}, fmt.Errorf("%q is not an image to push to; write one such as registry.example.com/modelkiln/modelkiln:v0.1.0: %w", to, err)
	}
	return ref, nil
}

// pushBaseImage puts the base image of model images into the cluster's registry, unless it is there.
func (c *Cluster) pushBaseImage(ctx context.Context) error {
	spec, err := image.BusyboxSpec(c.settings.Registry() + baseImage)
	if err != nil {
		return err
	}
	ref, err := parseTarget(spec.Name, true)
	if err != nil {
		return err
	}
	_, err = push(ctx, spec, ref)
	return err
}

// push puts an image into a registry, unless the registry has it under this name already, and gives its digest reference.
func push(ctx context.Context, spec image.Spec, ref name.Tag) (string, error) {
	img, err := spec.BuildCompressed()
	if err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	pushed := ref.Context().Digest(digest.String()).String()
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if there, err := remote.Head(ref, options...); err == nil && there.Digest == digest {
		return pushed, nil
	}
	if err := remote.Write(ref, img, options...); err != nil {
		return "", explainPush(ref, err)
	}
	return pushed, nil
}

// explainPush says what to do about a push that failed, where that can be known.
func explainPush(ref name.Tag, err error) error {
	var refused *transport.Error
	if errors.As(err, &refused) && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%s does not let you push %s; log in with: crane auth login %s (%w)", ref.RegistryStr(), ref, ref.RegistryStr(), err)
	}
	return fmt.Errorf("cannot push %s: %w", ref, err)
}
