// Package report holds what one run of the build workflow says of itself: a
// small JSON document that every step adds its part to, on the volume the
// steps share, and that comes back as the workflow's output "report" whether
// the run succeeded or failed. It is the only channel from the steps to the
// operator.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileName is the report's name on the volume that the steps share.
const FileName = "report.json"

// Report is what one run of the build workflow says of itself. A part is
// absent when its step did not get that far.
type Report struct {
	// Run says which build this report belongs to, so that a report left by
	// another run is never taken for this one's.
	Run Run `json:"run"`
	// Source is mount-check's part.
	Source *Source `json:"source,omitempty"`
	// Build is the build step's part.
	Build *Build `json:"build,omitempty"`
	// Image is status-report's part.
	Image *Image `json:"image,omitempty"`
	// Failure is set by the step that failed; no later step runs then.
	Failure *Failure `json:"failure,omitempty"`
}

// Run identifies a run.
type Run struct {
	// WorkflowUID is the UID of the Workflow that ran the step.
	WorkflowUID string `json:"workflowUID"`
	// ModelVersionUID is the UID of the ModelVersion, or empty when a person
	// started the build without one.
	ModelVersionUID string `json:"modelVersionUID,omitempty"`
	// Image is the image reference that the run was asked to build.
	Image string `json:"image"`
}

// Source is what mount-check found at the storage path.
type Source struct {
	// Files counts the regular files that belong to the model.
	Files int64 `json:"files"`
	// Bytes is the sum of the files' sizes.
	Bytes int64 `json:"bytes"`
	// Layers counts the image layers that the files are spread over.
	Layers int `json:"layers"`
	// Skipped counts sockets, pipes, devices and a top-level lost+found,
	// which have no content to package.
	Skipped int64 `json:"skipped,omitempty"`
	// AlreadyPushed says that the registry holds this very version with this
	// very content, so that there is nothing to build.
	AlreadyPushed bool `json:"alreadyPushed,omitempty"`
}

// Build is what the build step did.
type Build struct {
	// Layers maps the digest of each uncompressed layer ("sha256:…", the
	// config's diff ID) to what its tar archive was seen to hold.
	Layers []BuiltLayer `json:"layers,omitempty"`
	// SentBytes is the sum of the sizes of those layers of the model that were
	// sent to the registry, and ReusedBytes of those that it had already. Both
	// are zero where the engine does not say.
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

// Image is what the registry holds after the push.
type Image struct {
	// Reference is repository and tag.
	Reference string `json:"reference"`
	// Digest is the manifest's digest, "sha256:…", as the registry gives it.
	Digest string `json:"digest"`
	// Bytes is the sum of the layers' sizes in the registry (compressed).
	Bytes int64 `json:"bytes"`
	// Layers counts the image's layers, the base image's included.
	Layers int `json:"layers"`
	// PullSecret is the name of the Secret with whose credentials the registry
	// was asked; empty when it was asked anonymously.
	PullSecret string `json:"pullSecret,omitempty"`
}

// Failure is why a step failed.
type Failure struct {
	// Step is the name of the step: mount-check, build or status-report.
	Step string `json:"step"`
	// Reason is one of the reasons in api/v1alpha1.
	Reason string `json:"reason"`
	// Message is one sentence in the user's words, without a full stop and
	// without secrets.
	Message string `json:"message"`
	// Transient says that the same may go well in another pod, a little
	// later, with nobody's doing. The workflow template tries again after
	// such a failure, and after no other.
	Transient bool `json:"transient,omitempty"`
}

// Read reads the report in dir. A report that does not exist yet is an empty
// one; one that cannot be read or parsed is an error.
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

// Parse reads a report from the text of a workflow output.
func Parse(text string) (Report, error) {
	var r Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Report{}, fmt.Errorf("parse report: %w", err)
	}
	return r, nil
}

// Write puts the report into dir, whole or not at all, readable by every step
// whatever user it runs as.
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
