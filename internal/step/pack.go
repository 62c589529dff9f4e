package step

import (
	"context"
	"flag"
	"io"

	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// noLayer is the value of --layer if it is not set.
const noLayer = -1

// pack is the command that Kaniko runs, once for each layer and once at the end.
type pack struct {
	*paths
	layer  int
	finish bool
}

func definePack(flags *flag.FlagSet, paths *paths) action {
	p := &pack{paths: paths}
	flags.IntVar(&p.layer, "layer", noLayer, "the `number` of the layer to add, starting with 0")
	flags.BoolVar(&p.finish, "finish", false, "check the layer that was added last")
	return p.run
}

func (p *pack) run(ctx context.Context, _ io.Writer) error {
	if p.finish {
		return kaniko.RequestFinish(ctx, p.shared)
	}
	return kaniko.RequestLayer(ctx, p.shared, p.layer)
}
