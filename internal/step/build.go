package step

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

const (
	// diskLimitVariable is the environment variable in which the template passes
	// the limit of ephemeral storage.
	diskLimitVariable = "MODELKILN_DISK_LIMIT"
	// emptyCredentialsDir is the directory, shared by the steps, that Kaniko gets
	// as that of the credentials if there are none.
	emptyCredentialsDir = "no-credentials"
)

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
		credentialsDir, err := b.credentialsDir()
		if err != nil {
			return engine.Result{}, err
		}
		return kaniko.Build(ctx, kaniko.Input{
			Input: in, Shared: b.shared, CredentialsDir: credentialsDir,
			Executor: b.executor, KanikoDir: b.kanikoDir, ImageRoot: b.imageRoot, DiskLimit: b.diskLimit,
		})
	})
}

// credentialsDir returns the directory in which Kaniko looks for credentials:
// that of the push secret, or an empty one.
func (b *build) credentialsDir() (string, error) {
	if _, err := os.Stat(b.credentialsFile()); err == nil {
		return b.pushSecretDir, nil
	}
	empty := b.shared.Path(emptyCredentialsDir)
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return "", fmt.Errorf("create a directory without credentials: %w", err)
	}
	return empty, nil
}
