package step

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/modelfile"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// mountCheck is the first step. It finds everything that can fail a build before
// anything is copied, and plans the rest.
type mountCheck struct {
	*paths
	registryFlags
	storageFlags
	baseImage                    string
	pushSecretRequired           bool
	skipCompleteness             bool
	engine                       string
	limits                       layer.Limits
	workflowUID                  string
	model, modelVersion          string
	modelVersionUID, knownDigest string
	modelDir                     string
	program                      string
}

func defineMountCheck(flags *flag.FlagSet, p *paths) action {
	m := &mountCheck{paths: p, limits: layer.Limits{Size: layer.DefaultSize}}
	m.defineRegistry(flags)
	m.defineStorage(flags)
	flags.StringVar(&m.baseImage, "base-image", "", "the `reference` of the base image, or scratch")
	flags.Func("push-secret-required", "whether the push Secret must exist, `true or false`", boolean(&m.pushSecretRequired))
	flags.StringVar(&m.engine, "engine", string(v1alpha1.Kaniko), fmt.Sprintf("the `engine` of the build step: %s or %s", v1alpha1.Kaniko, v1alpha1.Stream))
	flags.Func("layer-size", fmt.Sprintf("the `size` from which a file has its own layer and up to which smaller files share a layer (default %s)", resource.NewQuantity(layer.DefaultSize, resource.BinarySI)), m.parseLayerSize)
	flags.IntVar(&m.limits.Layers, "max-layers", layer.DefaultLayers, "the maximum `number` of layers of the model; if more are needed, layers become larger")
	flags.StringVar(&m.workflowUID, "workflow-uid", "", "the `UID` of the Workflow")
	flags.StringVar(&m.model, "model", "", "the `name` of the Model")
	flags.StringVar(&m.modelVersion, "model-version", "", "the `name` of the ModelVersion")
	flags.StringVar(&m.modelVersionUID, "model-version-uid", "", "the `UID` of the ModelVersion; empty in a build without one")
	flags.StringVar(&m.knownDigest, "known-digest", "", "the `digest` that an earlier build of this ModelVersion reported; the image with this digest belongs to it")
	// The engine uses it. Here it is only checked, before anything is copied.
	flags.Func("created", createdUsage, timestamp(new(time.Time)))
	flags.Func("model-path", fmt.Sprintf("the `directory` of the image that holds the model (default %s)", v1alpha1.ModelPath), modelDirectory(&m.modelDir))
	flags.Func("completeness-check", fmt.Sprintf("whether an incomplete model fails the build, `%s or %s`", v1alpha1.EnforceCompleteness, v1alpha1.SkipCompleteness), choice(&m.skipCompleteness, string(v1alpha1.EnforceCompleteness), string(v1alpha1.SkipCompleteness)))
	flags.StringVar(&m.program, "program", "", "the `file` to copy to the shared volume, from which Kaniko's container runs it; this program if empty")
	return m.run
}

// memoryTarget is how many bytes of memory mount-check and status-report use before they
// collect garbage more often. The template limits each to 512Mi. For 200,000 files with
// paths of 230 characters each, status-report was measured to use 440 MiB when it signs.
const memoryTarget = 384 << 20

func (m *mountCheck) run(ctx context.Context, log io.Writer) error {
	debug.SetMemoryLimit(memoryTarget)
	err := m.check(ctx, log)
	var unreadable *failure.Error
	if m.isMounted() && m.streams() && errors.As(err, &unreadable) && unreadable.Reason == v1alpha1.ReasonSourceUnreadable && !errors.Is(err, source.ErrMaybeTemporary) {
		return failure.New(unreadable.Reason, "%s; the engine Stream does not run as root: make the files readable for all users, or use the engine Kaniko", unreadable.Message).WithCause(unreadable.Cause)
	}
	return err
}

func (m *mountCheck) parseLayerSize(value string) error {
	quantity, err := resource.ParseQuantity(value)
	if err != nil || quantity.Value() < layer.MinSize {
		return errors.New("must be a quantity of 1Mi or more, for example 64Mi")
	}
	m.limits.Size = quantity.Value()
	return nil
}

// streams reports whether the image is built without Kaniko and without root.
func (m *mountCheck) streams() bool { return m.engine == string(v1alpha1.Stream) }

// check checks what was requested, and then what planBuild does.
func (m *mountCheck) check(ctx context.Context, log io.Writer) error {
	if err := m.prepare(); err != nil {
		return err
	}
	plan, err := m.checkStorage(log)
	if err != nil {
		return err
	}
	config, err := m.checkSecret(m.pushSecretRequired, log)
	if err != nil {
		return err
	}
	return m.planBuild(ctx, plan, config, log)
}

// planBuild checks the model, the tag and the base image, in this order, and leaves the
// plan for the next steps.
func (m *mountCheck) planBuild(ctx context.Context, plan handoff.Plan, config registry.Config, log io.Writer) error {
	tag, err := config.Tag(m.image)
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be pushed: %v", err)
	}
	if m.storageKind == contract.StorageImage {
		return m.checkStoredImage(ctx, config, tag, log)
	}

	known, err := m.findKnown(ctx, config, tag, log)
	if err != nil {
		return err
	}
	files, err := m.openStorage(ctx, &plan, m.registryCAFile)
	if err != nil {
		return err
	}
	defer func() { _ = files.Close() }()
	if plan.Model, err = m.planModel(ctx, files, plan, log); err != nil {
		return err
	}

	existing, err := tagCheck{
		config: config, tag: tag, known: known, baseImage: m.baseImage, model: plan.Model, files: files, log: log, withoutVersion: m.local != nil,
		lineage: originOf(plan, modelimage.Lineage{Model: m.model, ModelVersion: m.modelVersion, ModelVersionUID: m.modelVersionUID, Tag: tag.TagStr()}),
	}.run(ctx)
	if err != nil {
		return err
	}
	if existing.Digest == "" {
		if plan, err = m.addBase(ctx, plan, config, files, tag.RegistryStr(), log); err != nil {
			return err
		}
	}
	return m.handOff(plan, existing)
}

// findKnown returns the image that an earlier attempt has pushed, whether or not the
// tag still refers to it, or nil. The report says so if the registry no longer has it,
// even if a later check fails: pods that serve the ModelVersion refer to its digest.
func (m *mountCheck) findKnown(ctx context.Context, config registry.Config, tag name.Tag, log io.Writer) (*remote.Descriptor, error) {
	if m.knownDigest == "" {
		return nil, nil
	}
	if _, err := v1.NewHash(m.knownDigest); err != nil {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "the known digest %q is not a digest: omit it, or write it as sha256:…", text.OneLine(m.knownDigest, maxProblem))
	}
	repository, err := config.Open(ctx, tag.Repository, registry.Push)
	if err != nil {
		return nil, failure.OfRegistry(err)
	}
	known, err := repository.Fetch(ctx, tag.Digest(m.knownDigest))
	if registry.IsNotFound(err) {
		console.Logf(log, "the registry no longer has %s@%s, which an earlier attempt had pushed", tag.Repository, m.knownDigest)
		return nil, m.shared.UpdateReport(func(r *report.Report) { r.ImageLost = true })
	}
	if err != nil {
		return nil, failure.OfRegistry(err)
	}
	return known, nil
}

// prepare replaces the report of an earlier attempt, and installs this program for
// the container of Kaniko.
func (m *mountCheck) prepare() error {
	err := m.shared.StartReport(report.Run{WorkflowUID: m.workflowUID, ModelVersionUID: m.modelVersionUID, Image: m.image})
	if err != nil || m.streams() {
		return err
	}
	program := m.program
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	if err := copyProgram(program, m.shared.Program()); err != nil {
		return fmt.Errorf("install this program on the shared volume: %w", err)
	}
	return nil
}

func copyProgram(from, to string) error {
	program, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }()
	installed, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(installed, program)
	return errors.Join(err, installed.Chmod(0o755), installed.Close())
}

// planModel lists the model's files, assigns them to layers, checks that the model is
// complete, and reads what it states about itself. The report has its size even if a later
// check fails.
func (m *mountCheck) planModel(ctx context.Context, files source.Files, plan handoff.Plan, log io.Writer) (layer.Plan, error) {
	listing, err := files.List(ctx)
	if err != nil {
		return layer.Plan{}, m.cannotPackage(plan, err)
	}
	model, err := layer.NewPlan(listing)
	if err != nil {
		return layer.Plan{}, m.cannotPackage(plan, err)
	}
	model.Dir, model.Patterns = m.modelDir, plan.Patterns()
	console.Logf(log, "%s holds %s, %s", plan.StorageName(), console.Count(model.Files, "file"), console.Size(model.Bytes))
	if model.Skipped > 0 {
		console.Logf(log, "skipped %s: sockets, pipes, devices or lost+found", console.Count(model.Skipped, "special file"))
	}
	logExcluded(log, model.Excluded)
	if err := m.checkComplete(ctx, files, model, log); err != nil {
		return layer.Plan{}, err
	}
	facts := readFacts(ctx, files, model, log)
	return model, m.shared.UpdateReport(func(r *report.Report) {
		r.Lineage, r.LineageOmitted = facts.Facts, facts.Omitted
		r.Source = &report.Source{Files: model.Files, Bytes: model.Bytes, Layers: len(model.Layers), Skipped: model.Skipped, Advice: advice(model)}
		if plan.Remote != nil {
			r.Source.Revision, r.Source.Digest = plan.Remote.Location.Revision(), layer.StatDigest(model.Entries())
		}
	})
}

// checkComplete checks that the model is complete, unless the ModelVersion skips that.
func (m *mountCheck) checkComplete(ctx context.Context, files source.Files, model layer.Plan, log io.Writer) error {
	if m.skipCompleteness {
		console.Logf(log, "completeness check skipped")
		return nil
	}
	err := source.CheckComplete(ctx, files, model)
	var incomplete *failure.Error
	if errors.As(err, &incomplete) && incomplete.Reason == v1alpha1.ReasonSourceIncomplete {
		return failure.New(incomplete.Reason, "%s. If the model is complete in another format, set spec.build.completenessCheck: %s", incomplete.Message, v1alpha1.SkipCompleteness).WithCause(incomplete.Cause)
	}
	if err != nil {
		return err
	}
	console.Logf(log, "completeness check passed")
	return nil
}

// readFacts returns what the files state about the model. A file from which nothing can be
// read is no reason to fail the build: the log names it.
func readFacts(ctx context.Context, files source.Files, model layer.Plan, log io.Writer) modelfile.Facts {
	facts, err := source.ReadFacts(ctx, files, model)
	for _, unread := range facts.Unread {
		console.Logf(log, "no facts about the model are read from a file: %s", unread)
	}
	if err != nil {
		console.Logf(log, "no further facts about the model are read: %v", err)
	}
	if stated := int64(len(facts.Facts)) + facts.Omitted; stated > 0 {
		console.Logf(log, "the files state %s about the model", console.Count(stated, "fact"))
	}
	return facts
}

// handOff leaves the plan, and what the registry already holds, for the next
// steps.
func (m *mountCheck) handOff(plan handoff.Plan, existing handoff.Expectation) error {
	if err := m.shared.WriteExpectation(existing); err != nil {
		return err
	}
	if err := m.shared.WritePlan(plan); err != nil {
		return err
	}
	return m.shared.UpdateReport(func(r *report.Report) {
		r.Source.Layers = len(plan.Model.Layers)
		if existing.Digest != "" {
			r.Source.AlreadyPushed, r.Source.Layers = true, len(existing.Layers)
		}
	})
}
