package step

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// runEngine runs an engine on what mount-check planned, and leaves its result for
// status-report. It does nothing if the registry already holds the image.
func (f *imageFlags) runEngine(ctx context.Context, dir handoff.Dir, log io.Writer, build func(context.Context, engine.Input) (engine.Result, error)) error {
	r, err := dir.ReadReport()
	if err != nil {
		return err
	}
	if r.Source != nil && r.Source.AlreadyPushed {
		console.Logf(log, "nothing to build: the registry already holds the image")
		return nil
	}
	in, err := f.buildInput(dir, log)
	if err != nil {
		return err
	}
	result, err := build(ctx, in)
	if err != nil {
		return err
	}
	if err := dir.WriteExpectation(result.Expectation(in.Base)); err != nil {
		return err
	}
	return dir.UpdateReport(func(r *report.Report) {
		r.Build = &report.Build{SentBytes: result.SentBytes, ReusedBytes: result.ReusedBytes}
	})
}

// buildInput returns the input that is the same for every engine.
func (f *imageFlags) buildInput(dir handoff.Dir, log io.Writer) (engine.Input, error) {
	plan, err := dir.ReadPlan()
	if err != nil {
		return engine.Input{}, err
	}
	if plan.Base.Name != f.baseImage {
		return engine.Input{}, fmt.Errorf("the steps have different base images: %q for mount-check and %q for build", plan.Base.Name, f.baseImage)
	}
	config, err := f.config()
	if err != nil {
		return engine.Input{}, err
	}
	target, err := config.Tag(f.image)
	if err != nil {
		return engine.Input{}, failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be pushed: %v", err)
	}
	lineage := modelimage.Lineage{
		Model: f.model, ModelVersion: f.modelVersion, ModelVersionUID: f.modelVersionUID,
		Tag: target.TagStr(), CreatedBy: unescape(f.createdBy), Created: f.created, Base: plan.Base,
	}
	return engine.Input{
		Plan: plan, Source: f.opener(plan, f.registryCAFile), Registry: config, Target: target, Lineage: originOf(plan, lineage), Zstd: f.compression == string(v1alpha1.Zstd),
		Log: log, Progress: console.NewProgress(f.progressFile, plan.Model.Bytes, log),
	}, nil
}

// originOf returns a lineage with where the files of a plan were read from.
func originOf(plan handoff.Plan, lineage modelimage.Lineage) modelimage.Lineage {
	if plan.Remote != nil {
		lineage.Source = plan.Remote.Location.Source()
		lineage.Revision = cmp.Or(plan.Remote.Location.Revision(), layer.StatDigest(plan.Model.Entries()))
	}
	return lineage
}
