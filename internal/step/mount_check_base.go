package step

import (
	"context"
	"io"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// addBase adds the base image to a plan, and limits the model's layers to those
// that the base image leaves and the registry of this host accepts.
func (m *mountCheck) addBase(ctx context.Context, plan handoff.Plan, config registry.Config, files source.Files, host string, log io.Writer) (handoff.Plan, error) {
	base, err := findBase(ctx, config, m.baseImage)
	if err != nil {
		return handoff.Plan{}, err
	}
	if base.HasKServeDir, err = m.checkBaseContent(ctx, base, plan.Model.ModelDir(), log); err != nil {
		return handoff.Plan{}, err
	}
	limits := layerLimits(m.limits, base.MaxLayers(), host)
	plan.Base, plan.Model = base.BaseImage, plan.Model.WithLimits(limits)
	if err := checkLayers(ctx, files, plan.Model, limits, host); err != nil {
		return handoff.Plan{}, err
	}
	for _, variant := range base.Variants {
		console.Logf(log, "for %s, the base image is %s with %s", variant.Platform, variant.Reference, console.Count(len(variant.DiffIDs), "layer"))
	}
	console.Logf(log, "the model has %s", console.Count(len(plan.Model.Layers), "layer"))
	return plan, nil
}

// maxInspected is the size in bytes of a base image's layers above which the engine
// Stream does not read them only to find out whether it can write a link.
const maxInspected = 1 << 30

// checkBaseContent checks that the base image leaves the model's directory to the model,
// and reports whether there is to be no link for KServe.
func (m *mountCheck) checkBaseContent(ctx context.Context, base foundBase, modelDir string, log io.Writer) (hasKServeDir bool, err error) {
	size, err := base.size()
	if err != nil {
		return false, err
	}
	if m.streams() && size > maxInspected && m.modelDir == "" {
		console.Logf(log, "the base image has %s, too much to find out whether there is something at /%s: KServe does not find the model there; if it has to, set spec.build.modelPath to /%s", console.Size(size), layer.KServeDir, layer.KServeDir)
		return true, nil
	}
	content, err := base.inspect(ctx, modelDir)
	if err != nil {
		return false, err
	}
	if content.HasModel && !m.streams() {
		return false, failure.New(v1alpha1.ReasonInvalidSpec, "the base image already has files at /%s: choose a base image without them", modelDir)
	}
	if content.HasKServeDir && !layer.Contains(layer.KServeDir, modelDir) {
		console.Logf(log, "the base image already has /%s, which is kept; KServe will serve that instead of the model", layer.KServeDir)
	}
	return content.HasKServeDir, nil
}
