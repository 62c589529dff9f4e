package kaniko

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// digestFile, in the directory that the steps share, is where Kaniko writes the
// digest of what it pushed.
const digestFile = "digest"

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

// Build builds and pushes an image with Kaniko, and returns what it pushed.
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
	console.Logf(in.Log, "Kaniko pushed %s; its %s hold all %s", in.Target, console.Count(len(result.Layers), "layer"), console.Count(in.Model.Files, "file"))
	return result, nil
}

// nearDiskLimit reports whether what was copied of the model, and once more what
// Kaniko archived of it, may exceed the limit.
func nearDiskLimit(in Input) bool {
	return in.DiskLimit > 0 && 2*in.Progress.Done() >= in.DiskLimit
}

// packAndPush runs Kaniko, and serves the commands that it runs.
func packAndPush(ctx context.Context, in Input) (engine.Result, error) {
	p, err := startPacker(ctx, in)
	if err != nil {
		return engine.Result{}, err
	}
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
	digest, err := readDigest(in)
	if err != nil {
		return engine.Result{}, err
	}
	return engine.Result{Digest: digest, ManifestSHA256: p.manifestSHA256, Layers: p.layers}, nil
}

// readDigest returns the digest of the image that Kaniko pushed.
func readDigest(in Input) (string, error) {
	raw, err := os.ReadFile(in.Shared.Path(digestFile))
	if err != nil {
		return "", failure.Verification("the image builder did not report what it pushed").WithCause(err)
	}
	digest, err := v1.NewHash(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", failure.Verification("the image builder did not report what it pushed: %v", err)
	}
	return digest.String(), nil
}

// writeContext writes the build context, which holds the Dockerfile only.
func writeContext(in Input) error {
	text, err := dockerfile{
		Base: in.Base.Reference, User: in.Base.User,
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
	helper, err := startHelper(ctx, in)
	if err != nil {
		return err
	}
	defer helper.stop()
	inv := invocation{
		Context: in.Shared.Path(contextDir), Destination: in.Target.Name(), Labels: in.Labels,
		DigestFile: in.Shared.Path(digestFile),
		IgnoredDir: filepath.Join(in.ImageRoot, stagingDir), Zstd: in.Zstd,
	}
	for _, host := range registryHosts(in) {
		if in.Registry.Insecure(host) {
			inv.PlainHTTP = append(inv.PlainHTTP, host)
			continue
		}
		inv.HTTPS = append(inv.HTTPS, host)
	}
	if _, err := os.Stat(in.Registry.CAFile); err == nil {
		inv.CAFile = in.Registry.CAFile
	}
	console.Logf(in.Log, "building %s with Kaniko", in.Target)
	output := newOutput(in.Log, in.Registry.Credentials.Secrets)
	return helper.explain(execute(ctx, in.Executor, inv.arguments(), environmentWith(credentials, in.Shared), output))
}

// registryHosts returns the registries that a build accesses.
func registryHosts(in Input) []string {
	target := in.Target.RegistryStr()
	if in.Base.Host == "" || in.Base.Host == target {
		return []string{target}
	}
	return []string{target, in.Base.Host}
}
