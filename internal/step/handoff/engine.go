package handoff

import (
	"io"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

// BuildInput is what every engine builds an image from. The inputs of
// kaniko.Build and stream.Build embed it.
type BuildInput struct {
	Plan
	// Registry says how to access registries.
	Registry registry.Config
	// Target is the tag to push to.
	Target name.Tag
	// Labels are the labels of the image.
	Labels map[string]string
	// Zstd compresses the layers with Zstandard. Without it, the engine's other
	// compression is used.
	Zstd bool
	// Log is where the engine logs, and Progress counts the bytes that it
	// handled.
	Log      io.Writer
	Progress *console.Progress
}

// BuildResult is what an engine pushed.
type BuildResult struct {
	// ManifestSHA256 is the digest of the model's manifest in the image.
	ManifestSHA256 string
	// Layers are the layers that hold the model's files.
	Layers []layer.BuiltLayer
	// SentBytes and ReusedBytes are the sizes of the model's layers that were
	// sent to the registry, and that it already had. Kaniko does not report them.
	SentBytes, ReusedBytes int64
}

// Expectation returns what the registry must hold after the push.
func (r BuildResult) Expectation() Expectation {
	return Expectation{ManifestSHA256: r.ManifestSHA256, Layers: r.Layers}
}
