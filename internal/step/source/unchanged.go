package source

import (
	"context"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// CheckUnchanged lists the files once more after everything was copied, and
// compares it with the plan. A file that was created, removed or written since
// shows that the model was still being written, so that the image would mix two
// states of it. The error is a *failure.Error.
func CheckUnchanged(ctx context.Context, open Opener, plan layer.Plan) error {
	files, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = files.Close() }()
	listing, err := files.List(ctx)
	if err != nil {
		return err
	}
	current, err := layer.NewPlan(listing)
	if err != nil {
		return failure.New(v1alpha1.ReasonSourceChanging, "the model's directory changed while it was packaged, and can no longer be packaged: %v", err)
	}
	if changed := layer.ChangedPath(plan, current); changed != "" {
		return Changing(changed)
	}
	return nil
}
