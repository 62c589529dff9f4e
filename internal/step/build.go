package step

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// diskLimitVariable is the environment variable in which the template passes the
// limit of ephemeral storage.
const diskLimitVariable = "MODELKILN_DISK_LIMIT"

// build is the build step with the engine Kaniko.
type build struct {
	*paths
	imageFlags
	executor, kanikoDir, imageRoot string
	diskLimit                      int64
}

func defineBuild(flags *flag.FlagSet, p *paths) action {
	b := &build{paths: p}
	b.defineImage(flags, "the time of the build", string(v1alpha1.Zstd), fmt.Sprintf("the `compression` of layers: %s or %s", v1alpha1.Zstd, v1alpha1.Gzip))
	flags.StringVar(&b.executor, "executor", "/kaniko/executor", "the `file` of Kaniko's executor")
	flags.StringVar(&b.kanikoDir, "kaniko-dir", "/kaniko", "the `directory` in which Kaniko stores its files")
	flags.StringVar(&b.imageRoot, "image-root", "/", "the `directory` that Kaniko snapshots as the root of the image")
	flags.Int64Var(&b.diskLimit, "disk-limit", int64Variable(diskLimitVariable), "the limit of the container's ephemeral storage in `bytes`; unlimited if 0")
	return b.run
}

func (b *build) run(ctx context.Context, log io.Writer) error {
	if b.created.IsZero() {
		// Kaniko's images have no reproducible digest in any case.
		b.created = time.Now().UTC().Truncate(time.Second)
	}
	return b.runEngine(ctx, b.shared, log, func(ctx context.Context, in engine.Input) (engine.Result, error) {
		return kaniko.Build(ctx, kaniko.Input{
			Input: in, Shared: b.shared, Executor: b.executor, KanikoDir: b.kanikoDir, ImageRoot: b.imageRoot, DiskLimit: b.diskLimit,
		})
	})
}
