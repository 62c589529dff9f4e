package step

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// build is the second step: it stands in front of Kaniko, tells it what to do,
// and tells people in one sentence what went wrong, for which Kaniko's exit
// code and usage text are no help.
type build struct {
	*places
	imageFlags
	executor, kanikoFolder, imageRoot string
	progressFile                      string
	compression                       string
	// diskLimit is how much ephemeral storage the build may use, in bytes; 0
	// is no limit.
	diskLimit int64
}

func defineBuild(flags *flag.FlagSet, at *places) action {
	b := &build{places: at}
	b.defineImage(flags)
	flags.StringVar(&b.compression, "compression", string(v1alpha1.Zstd), string(v1alpha1.Zstd)+", where the base image is in OCI's format, or "+string(v1alpha1.Gzip))
	flags.StringVar(&b.executor, "executor", "/kaniko/executor", "Kaniko's `program`")
	flags.StringVar(&b.kanikoFolder, "kaniko-folder", defaultKanikoFolder, "the `folder` in which Kaniko keeps its files")
	flags.StringVar(&b.imageRoot, "image-root", defaultImageRoot, "the `folder` that becomes the image")
	flags.StringVar(&b.progressFile, "progress-file", os.Getenv(progressVariable), "the `file` by which Argo is told how far the build is; empty is none")
	flags.Int64Var(&b.diskLimit, "disk-limit", bytesIn(diskLimitVariable), "how many `bytes` of ephemeral storage the build may use; 0 is no limit")
	return b.run
}

// defaultKanikoFolder is where Kaniko keeps its files.
const defaultKanikoFolder = "/kaniko"

// diskLimitVariable is how the template passes on the limit of ephemeral
// storage, which kubelet knows.
const diskLimitVariable = "MODELKILN_DISK_LIMIT"

// bytesIn is the number in an environment variable, or 0.
func bytesIn(variable string) int64 {
	n, err := strconv.ParseInt(os.Getenv(variable), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// nearDiskLimit says that what was copied of the model, and once more in
// Kaniko's archives, may be more than the build is allowed to use.
func (b *build) nearDiskLimit() bool {
	return b.diskLimit > 0 && 2*copied(b.progressFile) >= b.diskLimit
}

func (b *build) run(ctx context.Context, out io.Writer) error {
	work, nothing, err := b.order(b.shared)
	if err != nil {
		return err
	}
	if nothing {
		say(out, nothingToBuild)
		return nil
	}
	if err := b.writeContext(work.job); err != nil {
		return err
	}
	layers, err := b.packAndPush(ctx, out, work)
	if err != nil {
		if ctx.Err() != nil && b.nearDiskLimit() {
			return errDiskLimit
		}
		return err
	}
	say(out, "Kaniko has pushed, and its %d layers hold all %d files", len(layers), work.Plan.Files)
	return addToReport(b.shared, func(r *report.Report) { r.Build = &report.Build{Layers: layers} })
}

// packAndPush runs Kaniko, and does what the commands ask for that Kaniko runs.
func (b *build) packAndPush(ctx context.Context, out io.Writer, work order) ([]report.BuiltLayer, error) {
	p, err := b.startPacker(ctx, out, work.job)
	if err != nil {
		return nil, err
	}
	err = b.runKaniko(ctx, out, work)
	// Kaniko only knows that a command has failed.
	if refused := p.stop(); refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	if !p.done {
		return nil, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder has ended without the model's files")
	}
	return p.built, nil
}

// contextFolder is where Kaniko finds the Dockerfile. Nothing else is in it.
func (b *build) contextFolder() string { return filepath.Join(b.shared, contextName) }

func (b *build) writeContext(work job) error {
	text, err := kaniko.Dockerfile{
		Base: work.Base.Reference, User: work.Base.User,
		Program: filepath.Join(b.shared, programFile), Arguments: []string{"--shared=" + b.shared},
		Layers: len(work.Plan.Layers),
	}.Text()
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be built: %v", err)
	}
	if err := os.MkdirAll(b.contextFolder(), 0o755); err != nil {
		return fmt.Errorf("make the build context: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.contextFolder(), kaniko.DockerfileName), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the Dockerfile: %w", err)
	}
	return nil
}

func (b *build) runKaniko(ctx context.Context, out io.Writer, work order) error {
	credentials := filepath.Join(b.shared, dockerDir)
	defer func() { _ = os.RemoveAll(credentials) }()
	if err := writeDockerConfig(credentials, work); err != nil {
		return err
	}
	invocation := kaniko.Invocation{
		Context: b.contextFolder(), Destination: work.tag.Name(), Labels: b.lineage(work).Labels(),
		Ignored: filepath.Join(b.imageRoot, stagingFolder), Zstd: b.compression == string(v1alpha1.Zstd),
	}
	for _, host := range hosts(work.tag, work.Base) {
		if work.config.Insecure(host) {
			invocation.PlainHTTP = append(invocation.PlainHTTP, host)
			continue
		}
		invocation.Encrypted = append(invocation.Encrypted, host)
	}
	if _, err := os.Stat(b.registryCAFile); err == nil {
		invocation.CAFile = b.registryCAFile
	}
	say(out, "building %s with Kaniko", work.tag)
	output := kaniko.NewOutput(out, work.config.Credentials.Secrets())
	return kaniko.Run(ctx, b.executor, invocation.Arguments(), kaniko.Environment(credentials), output)
}

// writeDockerConfig writes the Docker configuration file in which Kaniko looks for
// credentials. Kaniko matches the entries of such a file with Docker's rules and
// not with the kubelet's, so the push secret itself might not work.
func writeDockerConfig(dir string, work order) error {
	repositories := []name.Repository{work.tag.Repository}
	if work.Base.Host != "" {
		base, err := work.config.Reference(work.Base.Reference)
		if err != nil {
			return err
		}
		repositories = append(repositories, base.Context())
	}
	raw, err := work.config.Credentials.DockerConfig(repositories...)
	if err != nil {
		return fmt.Errorf("encode the credentials for Kaniko: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		return fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	return nil
}

// hosts returns the registries that a build talks to.
func hosts(tag name.Tag, base baseImage) []string {
	if base.Host == "" || base.Host == tag.RegistryStr() {
		return []string{tag.RegistryStr()}
	}
	return []string{tag.RegistryStr(), base.Host}
}
