package step

import (
	"path/filepath"

	"github.com/modelkiln/modelkiln/internal/report"
)

// expectedFile is where status-report finds what the registry has to hold.
const expectedFile = "expected.json"

// expected is what the registry has to hold in the end, whether this build has
// pushed it or found it there. What was found may have been left by an attempt
// that failed, and is verified like any other.
type expected struct {
	// Digest is the digest of the image that mount-check has found and
	// compared; empty when there was none.
	Digest string `json:"digest,omitempty"`
	// ManifestSHA256 is the digest of the list of files that was written into
	// the image; empty when mount-check has compared the list of what it found.
	ManifestSHA256 string `json:"manifestSHA256,omitempty"`
	// Layers are the layers that hold the model's files.
	Layers []report.BuiltLayer `json:"layers,omitempty"`
}

func readExpected(shared string) (expected, error) {
	var e expected
	err := readJSON(filepath.Join(shared, expectedFile), &e)
	return e, err
}

func writeExpected(shared string, e expected) error {
	return writeJSON(filepath.Join(shared, expectedFile), e)
}
