package step

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// digestsFile is where the digests of the files that were copied for a layer
// are kept, by path.
func digestsFile(shared string, number int) string {
	return filepath.Join(shared, fmt.Sprintf("packed-%d.json", number))
}

// packedManifest returns the list of the model's files as they were copied, and
// of the layers that they were seen in.
func packedManifest(shared string, plan layer.Plan) (layer.Manifest, error) {
	digests := map[string]string{}
	for number := range plan.Layers {
		if err := readJSON(digestsFile(shared, number), &digests); err != nil {
			return layer.Manifest{}, err
		}
	}
	for _, e := range plan.Entries() {
		if _, known := digests[e.Path]; e.Type == layer.File && !known {
			return layer.Manifest{}, fmt.Errorf("%q was not copied", e.Path)
		}
	}
	manifest := layer.ManifestOf(plan, digests)
	var err error
	manifest.Layers, err = builtLayers(shared, plan)
	return manifest, err
}

// readBackResult is what reading back one layer of the plan found.
type readBackResult struct {
	// Archives are the archives that were read for it.
	Archives []string `json:"archives"`
	// Layers are those of them that hold something of it.
	Layers []report.BuiltLayer `json:"layers"`
}

func readBackFile(shared string, number int) string {
	return filepath.Join(shared, fmt.Sprintf("built-%d.json", number))
}

// readBack checks what Kaniko has written for a layer of the plan against the
// plan. It is for the command that Kaniko runs next, when the layer is written
// and, whichever Kaniko it is, not yet removed.
func readBack(ctx context.Context, shared, kanikoFolder string, plan layer.Plan, number int) error {
	archives, err := kaniko.FindArchives(kanikoFolder)
	if err != nil {
		return err
	}
	for earlier := range number {
		var read readBackResult
		if err := readJSON(readBackFile(shared, earlier), &read); err != nil {
			return err
		}
		archives = slices.DeleteFunc(archives, func(archive string) bool { return slices.Contains(read.Archives, archive) })
	}
	layers, err := kaniko.ReadLayers(ctx, archives, plan.Layers[number])
	if err != nil {
		return err
	}
	return writeJSON(readBackFile(shared, number), readBackResult{Archives: archives, Layers: layers})
}

// builtLayers returns what was read back of all layers.
func builtLayers(shared string, plan layer.Plan) ([]report.BuiltLayer, error) {
	var layers []report.BuiltLayer
	for number := range plan.Layers {
		var read readBackResult
		if err := readJSON(readBackFile(shared, number), &read); err != nil {
			return nil, err
		}
		layers = append(layers, read.Layers...)
	}
	return layers, nil
}
