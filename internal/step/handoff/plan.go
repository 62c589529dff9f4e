package handoff

import (
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Scratch is the name of the empty base image.
const Scratch = "scratch"

// Plan is what mount-check found and decided, for the later steps.
type Plan struct {
	// Storage is the directory that holds the model.
	Storage source.Storage `json:"storage"`
	// Model assigns the files of the model to layers.
	Model layer.Plan `json:"plan"`
	// Base is the base image. It is empty if there is nothing to build.
	Base BaseImage `json:"base"`
}

// BaseImage is the image that the model is added to.
type BaseImage struct {
	// Name is the reference as it was requested, or Scratch.
	Name string `json:"name"`
	// Host is the registry of the image; empty for Scratch.
	Host string `json:"host,omitempty"`
	// Reference is the reference by digest of the variant for this node, or
	// Scratch.
	Reference string `json:"reference"`
	// Digest is the digest of that variant, "sha256:…".
	Digest string `json:"digest,omitempty"`
	// User is the user in the image's config; empty is root.
	User string `json:"user,omitempty"`
	// DiffIDs are the digests of its layers' uncompressed archives, "sha256:…", from
	// the lowest one.
	DiffIDs []string `json:"diffIDs,omitempty"`
}

// IsScratch reports whether the base image is the empty one.
func (b BaseImage) IsScratch() bool { return b.Name == Scratch }

// Expectation is what the registry must hold in the end, whether this build
// pushed it or mount-check found it there. status-report verifies both, because
// an attempt that failed may have left what was found.
type Expectation struct {
	// Digest is the digest of the image that was pushed, or that mount-check found
	// and compared; empty before there is one.
	Digest string `json:"digest,omitempty"`
	// ManifestSHA256 is the digest of the model's manifest that was written into
	// the image; empty if mount-check compared the manifest that it found.
	ManifestSHA256 string `json:"manifestSHA256,omitempty"`
	// BaseDiffIDs are the digests of the archives of the base image's layers, which
	// are below the model's.
	BaseDiffIDs []string `json:"baseDiffIDs,omitempty"`
	// Layers are the layers that hold the model's files. Above them is only the one
	// with the model's manifest.
	Layers []layer.BuiltLayer `json:"layers,omitempty"`
	// AdoptedUID is the UID in the labels of an image that mount-check adopted from a
	// ModelVersion with the same name, which may be empty; nil if the image is this
	// ModelVersion's.
	AdoptedUID *string `json:"adoptedUID,omitempty"`
}

// IsPushed reports whether this build has pushed the image.
func (e Expectation) IsPushed() bool { return e.ManifestSHA256 != "" }
