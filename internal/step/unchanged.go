package step

import (
	"context"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// checkUnchanged lists the source once more when everything was copied. A file
// that came, went or was written after the first listing shows that somebody
// was still writing, so that the image would hold a half of two models.
func checkUnchanged(ctx context.Context, work job) error {
	root, err := work.Storage.Open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	found, err := source.List(ctx, root)
	if err != nil {
		return err
	}
	now, err := layer.NewPlan(found)
	if err != nil {
		return failure.New(v1alpha1.ReasonSourceChanging, "the model's folder changed while it was packaged, and cannot be packaged any more: %v", err)
	}
	if changed := layer.ChangedPath(work.Plan, now); changed != "" {
		return source.Changing(changed)
	}
	return nil
}
