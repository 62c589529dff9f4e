package step

import (
	"context"
	"flag"
	"io"
)

// defineOutput is what the container main does. Argo takes the Workflow's outputs
// from a container of that name; what the steps have to say of them, they say
// themselves.
func defineOutput(*flag.FlagSet, *places) action {
	return func(_ context.Context, out io.Writer) error {
		say(out, "the report of the steps becomes the Workflow's output parameter of that name when all have ended")
		return nil
	}
}
