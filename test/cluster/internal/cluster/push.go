package cluster

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
)

// pushBaseImage pushes the base image of model images to the cluster's registry.
func (c *Cluster) pushBaseImage(ctx context.Context) error {
	spec, err := image.BusyboxSpec(c.settings.Registry() + baseImage)
	if err != nil {
		return err
	}
	return push(ctx, spec)
}

// push pushes an image to the cluster's registry, which the image's name begins with. It writes nothing when the tag names
// this image already.
func push(ctx context.Context, spec image.Spec) error {
	ref, err := name.NewTag(spec.Name, name.StrictValidation, name.Insecure)
	if err != nil {
		return err
	}
	img, err := spec.BuildCompressed()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	if present, err := remote.Head(ref, remote.WithContext(ctx)); err == nil && present.Digest == digest {
		return nil
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("cannot push %s: %w", ref, err)
	}
	return nil
}
