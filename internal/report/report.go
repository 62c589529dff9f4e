// Package report defines the report of one run of the build workflow: a small
// JSON document to which every step adds its part. The steps keep it on the
// volume that they share, and the workflow returns it as its output "report",
// whether the run succeeded or failed. It is the only channel from the steps to
// the operator.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// FileName is the name of the report on the volume that the steps share.
const FileName = "report.json"

// Report is the report of one run of the build workflow. A part is absent if
// its step did not get that far.
type Report struct {
	// Run identifies the run, so that the report of another run is never
	// mistaken for this one's.
	Run Run `json:"run"`
	// ImageLost is written by mount-check. It is true if the registry no longer has
	// the image that an earlier attempt had pushed.
	ImageLost bool `json:"imageLost,omitempty"`
	// Source is written by mount-check.
	Source *Source `json:"source,omitempty"`
	// Build is written by the build step.
	Build *Build `json:"build,omitempty"`
	// Image is written by status-report.
	Image *Image `json:"image,omitempty"`
	// Lineage are the facts that the files of the model state about it, and LineageOmitted
	// is the number of further ones. mount-check writes both.
	Lineage        []v1alpha1.LineageFact `json:"lineage,omitempty"`
	LineageOmitted int64                  `json:"lineageOmitted,omitempty"`
	// Failure is written by the step that failed. No later step runs then.
	Failure *Failure `json:"failure,omitempty"`
}

// Run identifies a run.
type Run struct {
	// WorkflowUID is the UID of the Workflow that ran the step.
	WorkflowUID string `json:"workflowUID"`
	// ModelVersionUID is the UID of the ModelVersion, or empty if a user
	// started the build without one.
	ModelVersionUID string `json:"modelVersionUID,omitempty"`
	// Image is the image reference that the run was to build.
	Image string `json:"image"`
}

// Source is what mount-check found at the storage path.
type Source struct {
	// Files is the number of regular files of the model.
	Files int64 `json:"files"`
	// Bytes is the sum of the files' sizes.
	Bytes int64 `json:"bytes"`
	// Layers is the number of image layers for the files.
	Layers int `json:"layers"`
	// Skipped is the number of sockets, pipes, devices and a top-level
	// lost+found, which have no content to package.
	Skipped int64 `json:"skipped,omitempty"`
	// Revision is the commit from which the files are read, if they are on a hub.
	Revision string `json:"revision,omitempty"`
	// Digest is a digest of the names, sizes and identities of the files,
	// "sha256:…", if they are not mounted.
	Digest string `json:"digest,omitempty"`
	// Advice is a sentence about a large part of the files that does not belong to the
	// model, and how to leave it out, without a full stop; empty if there is none.
	Advice string `json:"advice,omitempty"`
	// AlreadyPushed is true if the registry holds this ModelVersion, or a deleted one
	// of the same name, with the same content, so that there is nothing to build.
	AlreadyPushed bool `json:"alreadyPushed,omitempty"`
}

// Build is what the build step pushed.
type Build struct {
	// SentBytes is the sum of the sizes of the model's layers that were sent to
	// the registry, and ReusedBytes of those that the registry already had.
	SentBytes   int64 `json:"sentBytes,omitempty"`
	ReusedBytes int64 `json:"reusedBytes,omitempty"`
}

// Image is what the registry holds after the push.
type Image struct {
	// Reference is the repository and the tag.
	Reference string `json:"reference"`
	// Digest is the digest of the manifest, or of the index of images for several
	// platforms, "sha256:…", as the registry returned it.
	Digest string `json:"digest"`
	// Bytes is the sum of the layers' compressed sizes. Of an index, it is that of the
	// first image: all have the same layers of the model.
	Bytes int64 `json:"bytes"`
	// Layers is the number of layers, including those of the base image.
	Layers int `json:"layers"`
	// ModelPath is the directory of the image that holds the model, if it is not
	// /kubedl-model.
	ModelPath string `json:"modelPath,omitempty"`
	// PullSecret is the name of the Secret whose credentials were used to read
	// the image from the registry, or empty for anonymous access.
	PullSecret string `json:"pullSecret,omitempty"`
	// HeldBack is why the registry does not return the image, in one sentence: a
	// policy requires that it is signed or scanned first. Digest is then what the
	// build step pushed, and Bytes is zero if the engine does not report it. It is
	// empty for an image that was verified.
	HeldBack string `json:"heldBack,omitempty"`
	// Signature is how the image was signed; nil if it was not.
	Signature *Signature `json:"signature,omitempty"`
}

// Signature is how status-report has signed an image.
type Signature struct {
	// Secret is the name of the Secret with the key, and KeyID is the SHA-256 of the public
	// key, "sha256:…".
	Secret string `json:"secret"`
	KeyID  string `json:"keyID"`
	// Formats are those in which the registry has the signature, and Attestations are
	// what else it has.
	Formats      []string `json:"formats,omitempty"`
	Attestations []string `json:"attestations,omitempty"`
	// Bundle is the signature of Digest as a bundle of Sigstore.
	Bundle string `json:"bundle"`
}

// Failure is why a step failed.
type Failure struct {
	// Step is the name of the step: mount-check, build or status-report.
	Step string `json:"step"`
	// Reason is one of the reasons in api/v1alpha1.
	Reason string `json:"reason"`
	// Message is one sentence for users, without a full stop and without
	// secrets.
	Message string `json:"message"`
	// Transient is true if a retry in another pod may succeed although no user
	// fixed anything. The workflow template retries such failures and no others.
	Transient bool `json:"transient,omitempty"`
}

// Read reads the report in dir. It returns an empty report if there is none yet,
// and an error if the report cannot be read or parsed.
func Read(dir string) (Report, error) {
	raw, err := os.ReadFile(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return Report{}, nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("read report: %w", err)
	}
	return Parse(string(raw))
}

// MaxSize is the size of a report in bytes that Parse accepts. Reports of our steps
// have about one kilobyte, and up to 16 KiB more with a lineage.
const MaxSize = 64 << 10

// Parse parses a report from the value of a workflow output. It returns an error if
// the text is not JSON of this form or larger than MaxSize.
func Parse(text string) (Report, error) {
	var r Report
	if len(text) > MaxSize {
		return Report{}, fmt.Errorf("parse report: it has %d bytes, and at most %d are read", len(text), MaxSize)
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Report{}, fmt.Errorf("parse report: %w", err)
	}
	return r, nil
}

// Write writes the report to dir atomically. Every step can read it, whatever
// user the step runs as.
func Write(dir string, r Report) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	next := filepath.Join(dir, "."+FileName)
	if err := os.RemoveAll(next); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(next, raw, 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.Rename(next, filepath.Join(dir, FileName)); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
