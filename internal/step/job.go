package step

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Names of files on the volume that the steps share.
const (
	jobFile     = "plan.json"
	programFile = "modelkiln-step"
	contextName = "context"
	dockerDir   = "docker-config"
)

// job is what mount-check found out and the later steps work by.
type job struct {
	// Storage is the folder that the model is made from.
	Storage source.Storage `json:"storage"`
	// Plan says which files go where.
	Plan layer.Plan `json:"plan"`
	// Base is the image that the model is put on. It is not known when there
	// is nothing to build.
	Base baseImage `json:"base"`
}

func readJob(shared string) (job, error) {
	var j job
	if err := readJSON(filepath.Join(shared, jobFile), &j); err != nil {
		return job{}, err
	}
	return j, nil
}

func readJSON(file string, into any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read what an earlier step left: %w", err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read what an earlier step left in %s: %w", file, err)
	}
	return nil
}

// encodeJSON writes JSON as it is kept in an image.
func encodeJSON(to io.Writer, content any) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(content)
}

// writeJSON writes a file that any user may read.
func writeJSON(file string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return fmt.Errorf("leave something for the next step: %w", err)
	}
	return nil
}
