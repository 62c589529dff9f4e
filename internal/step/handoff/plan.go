package handoff

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/remote"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Scratch is the name of the empty base image.
const Scratch = "scratch"

// Plan is what mount-check found and decided, for the later steps.
type Plan struct {
	// Storage is the mounted directory that holds the model, unless Remote is set.
	Storage source.Storage `json:"storage"`
	// Remote is where the model is stored, if that is not mounted.
	Remote *Remote `json:"remote,omitempty"`
	// Model assigns the files of the model to layers.
	Model layer.Plan `json:"plan"`
	// Base is the base image. It is empty if there is nothing to build.
	Base BaseImage `json:"base"`
}

// StorageName returns what messages call the storage, as in "the path /foo on the node".
func (p Plan) StorageName() string {
	if p.Remote != nil {
		return p.Remote.Location.Source()
	}
	return p.Storage.Name
}

// Patterns returns the patterns that select the files which are packaged.
func (p Plan) Patterns() layer.Patterns {
	if p.Remote != nil {
		return p.Remote.Patterns
	}
	return p.Storage.Patterns
}

// Remote is where a model is stored that is not mounted, and what may be read.
type Remote struct {
	Location remote.Location `json:"location"`
	// Patterns say which of the files are packaged.
	Patterns layer.Patterns `json:"patterns,omitzero"`
	// AllowedS3 and AllowedHuggingFace are the platform team's lists.
	AllowedS3          []string `json:"allowedS3,omitempty"`
	AllowedHuggingFace []string `json:"allowedHuggingFace,omitempty"`
}

// BaseImage is the image that the model is added to.
type BaseImage struct {
	// Name is the reference as it was requested, or Scratch.
	Name string `json:"name"`
	// Host is the registry of the image; empty for Scratch.
	Host string `json:"host,omitempty"`
	// Variants are the images for each platform of the model's image, in the order of
	// its index. A base image for one platform has one. The node of the build plays no
	// part.
	Variants []BaseVariant `json:"variants,omitempty"`
	// HasKServeDir is whether one of the variants has something where KServe expects
	// the model.
	HasKServeDir bool `json:"hasKServeDir,omitempty"`
}

// BaseVariant is the base image for one platform.
type BaseVariant struct {
	// Platform is that of the variant.
	Platform v1.Platform `json:"platform"`
	// Reference is the reference by digest, or Scratch.
	Reference string `json:"reference"`
	// Digest is the digest, "sha256:…"; empty for Scratch.
	Digest string `json:"digest,omitempty"`
	// User is the user in the image's config; empty is root.
	User string `json:"user,omitempty"`
	// DiffIDs are the digests of its layers' uncompressed archives, "sha256:…", from
	// the lowest one.
	DiffIDs []string `json:"diffIDs,omitempty"`
}

// IsScratch reports whether the base image is the empty one.
func (b BaseImage) IsScratch() bool { return b.Name == Scratch }

// MaxLayers returns the largest number of layers that a variant has.
func (b BaseImage) MaxLayers() int {
	layers := 0
	for _, variant := range b.Variants {
		layers = max(layers, len(variant.DiffIDs))
	}
	return layers
}

// DiffIDs returns the digests of the archives of each variant's layers.
func (b BaseImage) DiffIDs() [][]string {
	diffIDs := make([][]string, 0, len(b.Variants))
	for _, variant := range b.Variants {
		diffIDs = append(diffIDs, variant.DiffIDs)
	}
	return diffIDs
}

// Expectation is what the registry must hold in the end, whether this build
// pushed it or mount-check found it there. status-report verifies both, because
// an attempt that failed may have left what was found.
type Expectation struct {
	// Digest is the digest of the image, or of the index of images for several
	// platforms, that was pushed, or that mount-check found and compared; empty before
	// there is one.
	Digest string `json:"digest,omitempty"`
	// MediaType and Size are those of what was pushed.
	MediaType types.MediaType `json:"mediaType,omitempty"`
	Size      int64           `json:"size,omitempty"`
	// ManifestSHA256 is the digest of the model's manifest that was written into
	// the image; empty if mount-check compared the manifest that it found.
	ManifestSHA256 string `json:"manifestSHA256,omitempty"`
	// ListsDigests is whether that manifest has the SHA-256 of every file.
	ListsDigests bool `json:"listsDigests,omitempty"`
	// BaseDiffIDs are, for each platform, the digests of the archives of the base
	// image's layers, which are below the model's.
	BaseDiffIDs [][]string `json:"baseDiffIDs,omitempty"`
	// Layers are the layers that hold the model's files. Above them is only the one
	// with the model's manifest.
	Layers []layer.BuiltLayer `json:"layers,omitempty"`
	// AdoptedUID is the UID in the labels of an image that mount-check adopted from a
	// ModelVersion with the same name, which may be empty; nil if the image is this
	// ModelVersion's.
	AdoptedUID *string `json:"adoptedUID,omitempty"`
	// IsStored is whether the image is the model's storage: one that may have been
	// pushed by any program, and that is certified as it is.
	IsStored bool `json:"isStored,omitempty"`
}

// IsPushed reports whether this build has pushed the image.
func (e Expectation) IsPushed() bool { return e.ManifestSHA256 != "" }
