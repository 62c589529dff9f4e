package step

import (
	"context"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// layerLimits returns the limits for partitioning a model: the platform's, with the
// layers that a base image leaves and the largest layer that the registry is known to
// accept. A layer is slightly larger than the files in it.
func layerLimits(limits layer.Limits, baseLayers int, host string) layer.Limits {
	limits.Layers = max(1, min(limits.Layers, layer.Budget(baseLayers)))
	limits.MaxSize = registry.MaxLayerSize(host) / 100 * 99
	return limits
}

// checkLayers returns a failure if the registry is known not to accept a layer of the
// plan, before anything is sent. A layer counts with the least that it can be
// compressed to.
func checkLayers(ctx context.Context, files source.Files, plan layer.Plan, limits layer.Limits, host string) error {
	if limits.MaxSize == 0 {
		return nil
	}
	if len(plan.Layers) > limits.Layers {
		return failure.New(v1alpha1.ReasonRegistryFull, "the model needs %s of at most %s, which is what the registry %s accepts, and the image has room for %d: package fewer files in each ModelVersion, or push to another registry",
			console.Count(len(plan.Layers), "layer"), console.Size(limits.MaxSize), host, limits.Layers)
	}
	dir := files.FS(ctx, plan)
	for _, entry := range plan.Entries() {
		if entry.Size <= limits.MaxSize {
			continue
		}
		if size := minUploadSize(ctx, dir, entry); size > limits.MaxSize {
			return failure.New(v1alpha1.ReasonRegistryFull, "the file %s takes a layer of at least %s, and the registry %s accepts layers of at most %s: save the model in several files, or push to another registry",
				entry.Path, console.Size(size), host, console.Size(registry.MaxLayerSize(host)))
		}
	}
	return nil
}
