package step

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Local is a build with the engine Stream on a user's machine, without a cluster and
// without a ModelVersion. It runs the steps of a build in this process.
type Local struct {
	// Directory holds the model's files.
	Directory string
	// Image is the reference to push to, with a tag.
	Image string
	// BaseImage is the reference of the base image, or scratch.
	BaseImage string
	// ModelPath is the directory of the image that holds the model; empty is
	// v1alpha1.ModelPath.
	ModelPath string
	// Model and CreatedBy are for the labels of the image; they may be empty.
	Model, CreatedBy string
	// PreviousImage is the reference, by digest, of an image that may already have many
	// of the files; empty is none.
	PreviousImage string
	// Registry configures the access to registries.
	Registry registry.Config
	// Patterns say which files are packaged.
	Patterns layer.Patterns
	// FollowLinks packages symbolic links as what they lead to.
	FollowLinks bool
	// SkipCompleteness packages a model of which files seem to be missing.
	SkipCompleteness bool
	// Zstd compresses the layers.
	Zstd bool
}

// Build builds, pushes and verifies the image, and returns what the steps reported. If
// the tag has an image of the same files, nothing is pushed. The error is a
// *failure.Error, whose message names the flags of kubectl kiln package.
func (l Local) Build(ctx context.Context, log io.Writer) (report.Report, error) {
	dir, err := os.MkdirTemp("", "modelkiln-")
	if err != nil {
		return report.Report{}, fmt.Errorf("create a directory for the plan: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p := &paths{shared: handoff.Dir(dir)}
	for _, step := range []action{l.plan(p), l.stream(p), l.verify(p)} {
		if err := step(ctx, log); err != nil {
			if ctx.Err() != nil {
				return report.Report{}, context.Cause(ctx)
			}
			f := *failure.Of(err)
			f.Message = inFlags(f.Message)
			return report.Report{}, &f
		}
	}
	r, err := p.shared.ReadReport()
	if r.Source != nil {
		r.Source.Advice = inFlags(r.Source.Advice)
	}
	return r, err
}

func (l Local) access() registryFlags {
	return registryFlags{image: l.Image, pushSecret: "", registryCAFile: l.Registry.CAFile, local: &l.Registry}
}

// plan returns the step mount-check. Nothing is mounted.
func (l Local) plan(p *paths) action {
	return func(ctx context.Context, log io.Writer) error {
		m := &mountCheck{
			paths: p, registryFlags: l.access(), baseImage: l.BaseImage, skipCompleteness: l.SkipCompleteness, engine: string(v1alpha1.Stream),
			limits: layer.Limits{Size: layer.DefaultSize, Layers: layer.DefaultLayers}, model: l.Model,
		}
		if err := modelDirectory(&m.modelDir)(l.ModelPath); err != nil {
			return failure.New(v1alpha1.ReasonInvalidSpec, "spec.build.modelPath %v", err)
		}
		if err := p.shared.StartReport(report.Run{Image: l.Image}); err != nil {
			return err
		}
		mount, err := filepath.Abs(l.Directory)
		if err != nil {
			return err
		}
		storage := source.Storage{Mount: mount, Name: "the directory " + l.Directory, Patterns: l.Patterns, FollowLinks: l.FollowLinks}
		return m.planBuild(ctx, handoff.Plan{Storage: storage}, l.Registry, log)
	}
}

// stream returns the step build.
func (l Local) stream(p *paths) action {
	compression := v1alpha1.NoCompression
	if l.Zstd {
		compression = v1alpha1.Zstd
	}
	s := &streamBuild{paths: p, previousImage: l.PreviousImage, imageFlags: imageFlags{
		registryFlags: l.access(), baseImage: l.BaseImage, model: l.Model, createdBy: l.CreatedBy, compression: string(compression),
	}}
	return s.run
}

// verify returns the step status-report.
func (l Local) verify(p *paths) action {
	s := &statusReport{paths: p, registryFlags: l.access()}
	return s.run
}

var (
	buildField = regexp.MustCompile(`spec\.build\.([a-z][A-Za-z]*)(?:: ([A-Z][a-z]+))?`)
	upperCase  = regexp.MustCompile(`[A-Z]`)
)

// inFlags returns a message about fields of a ModelVersion as one about the flags and
// arguments of kubectl kiln package.
func inFlags(message string) string {
	message = buildField.ReplaceAllStringFunc(message, func(field string) string {
		parts := buildField.FindStringSubmatch(field)
		flag := "--" + upperCase.ReplaceAllStringFunc(parts[1], func(letter string) string { return "-" + strings.ToLower(letter) })
		if parts[2] != "" {
			flag += "=" + parts[2]
		}
		return flag
	})
	return strings.NewReplacer("imageTag", "tag", "imageRepo", "REPOSITORY", "this ModelVersion", "this tag's model", "the cluster's DNS", "the DNS").Replace(message)
}
