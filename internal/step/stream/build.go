// Package stream is the engine Stream. It sends every layer to the registry
// directly from the model's directory, in one pass, and then pushes an image of
// these layers. It needs no Kaniko, no root and no disk.
package stream

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Input is what Build builds an image from.
type Input struct {
	engine.Input
	// PreviousImage is an image by digest that may hold many of the files; empty
	// is none.
	PreviousImage string
	// TrustModTimes takes files whose size, mode and time are those of the
	// previous image for unchanged, without reading them.
	TrustModTimes bool
}

// Build builds and pushes an image, and returns what it pushed.
func Build(ctx context.Context, in Input) (engine.Result, error) {
	root, err := in.Storage.Open()
	if err != nil {
		return engine.Result{}, err
	}
	defer func() { _ = root.Close() }()
	repository, err := in.Registry.Open(ctx, in.Target.Repository, registry.Push)
	if err != nil {
		return engine.Result{}, failure.OfRegistry(err)
	}
	mountable := in.mountable()
	uploader, err := in.Registry.NewUploader(ctx, repository, mountable...)
	if err != nil {
		return engine.Result{}, failure.OfRegistry(err)
	}
	s := &sender{
		Input: in, root: root, repository: repository, uploader: uploader, mountable: mountable,
		previous: findPrevious(ctx, in), transfer: newTransfer(len(in.Model.Layers), in.Progress),
	}
	console.Logf(in.Log, "sending %s to %s", console.Count(len(in.Model.Layers), "layer"), in.Target.Repository)
	layers, err := s.sendAll(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if err := source.CheckUnchanged(ctx, in.Storage, in.Model); err != nil {
		return engine.Result{}, err
	}
	result := engine.Result{Layers: builtLayers(layers), SentBytes: s.sentBytes, ReusedBytes: s.reusedBytes}
	result.Digest, result.ManifestSHA256, err = pushImage(ctx, in, repository, layers)
	if err != nil {
		return engine.Result{}, err
	}
	console.Logf(in.Log, "pushed %s: %s sent, %s already in the registry", in.Target, console.Size(s.sentBytes), console.Size(s.reusedBytes))
	return result, nil
}

// mountable returns the other repositories from which layers may be mounted.
func (in Input) mountable() []name.Repository {
	ref, err := in.Registry.Reference(in.PreviousImage)
	if err != nil || ref.Context() == in.Target.Repository {
		return nil
	}
	return []name.Repository{ref.Context()}
}

// pushImage pushes the manifest of the model, the image's config and, last, the
// tag, so that no one sees an incomplete image. It returns the digest of the image and
// the SHA-256 of the model's manifest.
func pushImage(ctx context.Context, in Input, repository *registry.Repository, layers []pushedLayer) (digest, manifestSHA256 string, err error) {
	manifest := layer.NewManifest(in.Model, nil)
	manifest.Layers, manifest.Streamed = builtLayers(layers), true
	manifestLayer, manifestSHA256, err := newManifestLayer(manifest)
	if err != nil {
		return "", "", err
	}
	base, err := pullBase(ctx, in)
	if err != nil {
		return "", "", err
	}
	image, err := assemble(base, layers, manifestLayer, in.Labels)
	if err != nil {
		return "", "", failure.OfRegistry(repository.Explain(err))
	}
	pushed, err := image.Digest()
	if err != nil {
		return "", "", failure.OfRegistry(repository.Explain(err))
	}
	if err := repository.Push(ctx, in.Target, image); err != nil {
		return "", "", failure.OfRegistry(err)
	}
	return pushed.String(), manifestSHA256, nil
}

// pullBase returns the base image, or nil for scratch.
func pullBase(ctx context.Context, in Input) (v1.Image, error) {
	if in.Base.IsScratch() {
		return nil, nil
	}
	ref, err := in.Registry.Reference(in.Base.Reference)
	if err != nil {
		return nil, err
	}
	image, _, err := modelimage.Pull(ctx, in.Registry, ref)
	return image, failure.OfRegistry(err)
}
