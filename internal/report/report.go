// Package report defines the report of one run of the build workflow: a small JSON
// document on the volume that the steps share, to which every step adds its part,
// and which becomes the workflow's output "report" whether the run succeeded or
// failed. It is the only channel from the steps to the operator.
//
// The JSON field names are a contract between the operator and the steps, which may
// be of different releases: unknown fields are ignored.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileName is the report's file name on the volume that the steps share.
const FileName = "report.json"

// Report is the report of one run of the build workflow. A part is absent if its
// step did not get that far.
type Report struct {
	// Run identifies the run that the report belongs to, so that a report left by
	// another run is never mistaken for this one's.
	Run Run `json:"run"`
	// Source is mount-check's part.
	Source *Source `json:"source,omitempty"`
	// Build is the build step's part.
	Build *Build `json:"build,omitempty"`
	// Image is status-report's part.
	Image *Image `json:"image,omitempty"`
	// Failure is set by the step that failed; later steps do not run.
	Failure *Failure `json:"failure,omitempty"`
}

// Run identifies a run.
type Run struct {
	// WorkflowUID is the UID of the Workflow that ran the step.
	WorkflowUID string `json:"workflowUID"`
	// ModelVersionUID is the UID of the ModelVersion, or empty if a user started the
	// build without one.
	ModelVersionUID string `json:"modelVersionUID,omitempty"`
	// Image is the image reference to build.
	Image string `json:"image"`
}

// Source is what mount-check found at the storage path.
type Source struct {
	// Files counts the regular files that belong to the model.
	Files int64 `json:"files"`
	// Bytes is the sum of the files' sizes.
	Bytes int64 `json:"bytes"`
	// Layers counts the image layers for the files.
	Layers int `json:"layers"`
	// Skipped counts sockets, pipes, devices and a top-level lost+found, which have
	// no content to package.
	Skipped int64 `json:"skipped,omitempty"`
	// AlreadyPushed is true if the registry already has this ModelVersion with the
	// same content, so that there is nothing to build.
	AlreadyPushed bool `json:"alreadyPushed,omitempty"`
}

// Build is the build step's result.
type Build struct {
	// Layers maps the digest of each uncompressed layer ("sha256:…", the
	// config's diff ID) to what its tar archive was seen to hold.
	Layers []BuiltLayer `json:"layers,omitempty"`
	// SentBytes is the size of the model's layers that were sent to the registry, and
	// ReusedBytes of those that it already had. Both are zero if the engine does not
	// report them.
	SentBytes   int64 `json:"sentBytes,omitempty"`
	ReusedBytes int64 `json:"reusedBytes,omitempty"`
}

// BuiltLayer is one layer as the builder wrote it, read back from its tar
// archive before the archive was thrown away.
type BuiltLayer struct {
	// DiffID is the digest of the uncompressed tar archive, "sha256:…".
	DiffID string `json:"diffID"`
	// Files counts the files of the plan whose entry, with the right size,
	// the archive holds.
	Files int64 `json:"files"`
	// Bytes is the sum of those files' sizes.
	Bytes int64 `json:"bytes"`
}

// Image is the image in the registry after the push.
type Image struct {
	// Reference is repository and tag.
	Reference string `json:"reference"`
	// Digest is the manifest's digest, "sha256:…", as reported by the registry.
	Digest string `json:"digest"`
	// Bytes is the sum of the layers' sizes in the registry (compressed).
	Bytes int64 `json:"bytes"`
	// Layers counts the image's layers, including those of the base image.
	Layers int `json:"layers"`
	// PullSecret is the name of the Secret whose credentials were used to verify the
	// image; empty if no credentials were used.
	PullSecret string `json:"pullSecret,omitempty"`
}

// Failure is the reason why a step failed.
type Failure struct {
	// Step is the name of the step: mount-check, build or status-report.
	Step string `json:"step"`
	// Reason is one of the reasons in api/v1alpha1.
	Reason string `json:"reason"`
	// Message is one sentence for users, without a full stop and without secrets.
	Message string `json:"message"`
	// Transient is true if the same step may succeed a little later in another pod
	// without any change. The workflow template retries only after such a failure.
	Transient bool `json:"transient,omitempty"`
}

// Read reads the report in dir. It returns an empty report if there is none yet.
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

// Parse parses a report from the text of a workflow output.
func Parse(text string) (Report, error) {
	var r Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Report{}, fmt.Errorf("parse report: %w", err)
	}
	return r, nil
}

// Write writes the report into dir, atomically and readable by every step regardless
// of its user.
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
