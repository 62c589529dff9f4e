package step

import (
	"context"
	"flag"
	"io"

	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// noLayer is the value of --layer if it is not set.
const noLayer = -1

// pack is the command that Kaniko runs, once for each layer and once for the
// manifest of the model.
type pack struct {
	*paths
	layer    int
	manifest bool
}

func definePack(flags *flag.FlagSet, paths *paths) action {
	p := &pack{paths: paths}
	flags.IntVar(&p.layer, "layer", noLayer, "the `number` of the layer to add, starting with 0")
	flags.BoolVar(&p.manifest, "manifest", false, "add the list of the model's files, /.modelkiln/manifest.json")
	return p.run
}

func (p *pack) run(ctx context.Context, _ io.Writer) error {
	if p.manifest {
		return kaniko.RequestManifest(ctx, p.shared)
	}
	return kaniko.RequestLayer(ctx, p.shared, p.layer)
}
