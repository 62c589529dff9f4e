// Command modelkiln-step runs one step of the workflow that builds a model's
// image, inside the build's pod.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/modelkiln/modelkiln/internal/step"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := step.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
