// Package stream is the engine Stream. It sends every layer to the registry
// directly from where the model is stored, in one pass, and then pushes an image of
// these layers. It needs no Kaniko, no root and no disk.
package stream

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"

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
	// FileDigests adds the SHA-256 of every file to the manifest of the model.
	FileDigests bool
}

// Build builds and pushes an image, and returns what it pushed.
func Build(ctx context.Context, in Input) (engine.Result, error) {
	files, err := in.Source(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	defer func() { _ = files.Close() }()
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
		Input: in, files: files, repository: repository, uploader: uploader, mountable: mountable,
		previous: findPrevious(ctx, in), transfer: newTransfer(len(in.Model.Layers), in.Progress),
	}
	console.Logf(in.Log, "sending %s to %s", console.Count(len(in.Model.Layers), "layer"), in.Target.Repository)
	layers, err := s.sendAll(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if err := source.CheckUnchanged(ctx, in.Source, in.Model); err != nil {
		return engine.Result{}, err
	}
	result := engine.Result{Layers: modelimage.BuiltLayers(layers), SentBytes: s.sentBytes, ReusedBytes: s.reusedBytes}
	manifest := layer.NewManifest(in.Model, s.allDigests())
	manifest.Layers, manifest.Streamed = result.Layers, true
	result.ListsDigests = manifest.HasDigests()
	result.Pushed, result.ManifestSHA256, err = in.Push(ctx, repository, manifest, layers, engine.Uncompressed)
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
