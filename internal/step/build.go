package step

import (
	"context"
	"flag"
	"fmt"
	"io"

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
	b.defineImage(flags, string(v1alpha1.Zstd), fmt.Sprintf("%s, if the base image has OCI's format, or %s", v1alpha1.Zstd, v1alpha1.Gzip))
	flags.StringVar(&b.executor, "executor", "/kaniko/executor", "Kaniko's `program`")
	flags.StringVar(&b.kanikoDir, "kaniko-folder", "/kaniko", "the `directory` in which Kaniko keeps its files")
	flags.StringVar(&b.imageRoot, "image-root", "/", "the `directory` that becomes the root of the image: Kaniko's own root")
	flags.Int64Var(&b.diskLimit, "disk-limit", int64Variable(diskLimitVariable), "the limit of ephemeral storage in `bytes`; 0 is no limit")
	return b.run
}

func (b *build) run(ctx context.Context, log io.Writer) error {
	return b.runEngine(ctx, b.shared, log, func(ctx context.Context, in engine.Input) (engine.Result, error) {
		return kaniko.Build(ctx, kaniko.Input{
			Input: in, Shared: b.shared, Executor: b.executor, KanikoDir: b.kanikoDir, ImageRoot: b.imageRoot, DiskLimit: b.diskLimit,
		})
	})
}
