package step

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/stream"
)

// streamBuild is the build step with the engine Stream.
type streamBuild struct {
	*paths
	imageFlags
	previousImage   string
	changeDetection string
	skipFileDigests bool
}

func defineStream(flags *flag.FlagSet, p *paths) action {
	s := &streamBuild{paths: p}
	s.defineImage(flags, "that of the base image", string(v1alpha1.NoCompression), fmt.Sprintf("the `compression` of layers: %s or %s", v1alpha1.NoCompression, v1alpha1.Zstd))
	flags.StringVar(&s.previousImage, "previous-image", "", "the `reference`, by digest, of an image that may already have many of the files")
	flags.StringVar(&s.changeDetection, "change-detection", string(v1alpha1.ChangesInContent), fmt.Sprintf("the `method` to detect unchanged files: %s or %s", v1alpha1.ChangesInContent, v1alpha1.ChangesInModTime))
	flags.Func("file-digests", fmt.Sprintf("whether the SHA-256 of every file is added to the image, `%s or %s`", v1alpha1.RecordFileDigests, v1alpha1.SkipFileDigests), choice(&s.skipFileDigests, string(v1alpha1.RecordFileDigests), string(v1alpha1.SkipFileDigests)))
	return s.run
}

func (s *streamBuild) run(ctx context.Context, log io.Writer) error {
	return s.runEngine(ctx, s.shared, log, func(ctx context.Context, in engine.Input) (engine.Result, error) {
		return stream.Build(ctx, stream.Input{
			Input: in, PreviousImage: s.previousImage, TrustModTimes: s.changeDetection == string(v1alpha1.ChangesInModTime), FileDigests: !s.skipFileDigests,
		})
	})
}
