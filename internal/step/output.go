package step

import (
	"context"
	"flag"
	"io"

	"github.com/modelkiln/modelkiln/internal/step/console"
)

// defineOutput defines the command of the container main, from which Argo
// collects the Workflow's outputs. The steps write the report themselves.
func defineOutput(*flag.FlagSet, *paths) action {
	return func(_ context.Context, log io.Writer) error {
		console.Logf(log, "the report becomes the Workflow's output parameter when all steps have ended")
		return nil
	}
}
