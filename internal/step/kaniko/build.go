package kaniko

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// contextDir is the directory, shared by the steps, with Kaniko's build context.
const contextDir = "context"

// ErrNearDiskLimit is the error of a build that was terminated when it may have
// used more disk than its limit, for which kubelet evicts pods.
var ErrNearDiskLimit = errors.New("the build is near its limit of ephemeral storage")

// Input is what Build builds an image from.
type Input struct {
	engine.Input
	// Shared is the directory that all steps share.
	Shared handoff.Dir
	// Executor is Kaniko's program, and KanikoDir the directory in which it keeps
	// its files.
	Executor, KanikoDir string
	// ImageRoot is the root directory of the image.
	ImageRoot string
	// DiskLimit is the limit of ephemeral storage in bytes; 0 is none.
	DiskLimit int64
}

// Build builds the layers of an image with Kaniko, pushes the image, and returns what
// it pushed.
func Build(ctx context.Context, in Input) (engine.Result, error) {
	if err := writeContext(in); err != nil {
		return engine.Result{}, err
	}
	result, err := packAndPush(ctx, in)
	if err != nil {
		if ctx.Err() != nil && nearDiskLimit(in) {
			return engine.Result{}, ErrNearDiskLimit
		}
		return engine.Result{}, err
	}
	console.Logf(in.Log, "pushed %s; its %s hold all %s", in.Target, console.Count(len(result.Layers), "layer"), console.Count(in.Model.Files, "file"))
	return result, nil
}

// nearDiskLimit reports whether what was copied of the model, and once more what
// Kaniko archived of it, may exceed the limit.
func nearDiskLimit(in Input) bool {
	return in.DiskLimit > 0 && 2*in.Progress.Done() >= in.DiskLimit
}

// packed is what Kaniko has built of a model.
type packed struct {
	archives []layerArchive
	// digests are the SHA-256 of the files that were copied, by path.
	digests map[string]string
}

// packAndPush runs Kaniko, serves the commands that it runs, and pushes the layers
// that it has archived.
func packAndPush(ctx context.Context, in Input) (engine.Result, error) {
	p, err := startPacker(ctx, in)
	if err != nil {
		return engine.Result{}, err
	}
	defer p.closeArchives()
	err = runExecutor(ctx, in)
	// The packer knows the reason; Kaniko knows only that a command failed.
	if packErr := p.stop(); packErr != nil {
		return engine.Result{}, packErr
	}
	if err != nil {
		return engine.Result{}, err
	}
	if !p.finished {
		return engine.Result{}, failure.Verification("the image builder ended without adding all files of the model")
	}
	digests := map[string]string{}
	for _, ofLayer := range p.digests {
		maps.Copy(digests, ofLayer)
	}
	return push(ctx, in, packed{archives: p.archives, digests: digests})
}

// writeContext writes the build context, which holds the Dockerfile only.
func writeContext(in Input) error {
	// Kaniko builds on one variant of the base image. The layers are the same for all.
	base := in.Base.Variants[0]
	text, err := dockerfile{
		Base: base.Reference, HasUser: base.User != "",
		Program: in.Shared.Program(), Arguments: []string{"--shared=" + string(in.Shared)},
		Layers: len(in.Model.Layers),
	}.text()
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be built: %v", err)
	}
	dir := in.Shared.Path(contextDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create the build context: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, dockerfileName), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the Dockerfile: %w", err)
	}
	return nil
}

func runExecutor(ctx context.Context, in Input) error {
	credentials, err := writeCredentials(ctx, in)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(credentials) }()
	inv := invocation{
		Context: in.Shared.Path(contextDir), IgnoredDir: filepath.Join(in.ImageRoot, stagingDir),
		BaseHost: in.Base.Host, PlainHTTP: in.Registry.Insecure(in.Base.Host),
	}
	if _, err := os.Stat(in.Registry.CAFile); err == nil {
		inv.CAFile = in.Registry.CAFile
	}
	console.Logf(in.Log, "building the layers of %s with Kaniko", in.Target)
	output := newOutput(in.Log, in.Registry.Credentials.Secrets)
	return execute(ctx, in.Executor, inv.arguments(), environmentWith(credentials), output)
}
