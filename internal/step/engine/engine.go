// Package engine defines what the engines, in the packages kaniko and stream, have in
// common: each is a function Build(ctx, Input) (engine.Result, error), whose Input
// embeds engine.Input.
package engine

import (
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Input is what every engine builds an image from.
type Input struct {
	handoff.Plan
	// Source opens the files of the model.
	Source source.Opener
	// Registry configures the access to registries.
	Registry registry.Config
	// Target is the tag to push to.
	Target name.Tag
	// Lineage is the origin of the image, for its labels.
	Lineage modelimage.Lineage
	// Zstd compresses the layers with Zstandard. Without it, the engine's other
	// compression is used.
	Zstd bool
	// Log is where the engine logs, and Progress counts the bytes that it
	// handled.
	Log      io.Writer
	Progress *console.Progress
}

// Result is what an engine pushed.
type Result struct {
	// Pushed is the image, or the index of images for several platforms, that was
	// pushed: its media type, size and digest.
	Pushed v1.Descriptor
	// ManifestSHA256 is the digest of the model's manifest in the image, and ListsDigests is
	// whether it has the SHA-256 of every file.
	ManifestSHA256 string
	ListsDigests   bool
	// Layers are the layers that hold the model's files.
	Layers []layer.BuiltLayer
	// SentBytes and ReusedBytes are the sizes of the model's layers that were
	// sent to the registry, and that it already had.
	SentBytes, ReusedBytes int64
}

// Expectation returns what the registry must hold after the push of an image with
// this base image.
func (r Result) Expectation(base handoff.BaseImage) handoff.Expectation {
	return handoff.Expectation{
		Digest: r.Pushed.Digest.String(), MediaType: r.Pushed.MediaType, Size: r.Pushed.Size,
		ManifestSHA256: r.ManifestSHA256, ListsDigests: r.ListsDigests, BaseDiffIDs: base.DiffIDs(), Layers: r.Layers,
	}
}
