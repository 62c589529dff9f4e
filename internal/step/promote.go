package step

import (
	"context"
	"flag"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// promote moves a tag to an image that the repository has. It is the only step that
// overwrites a tag.
type promote struct {
	*paths
	registryFlags
	pushSecretRequired         bool
	digest, model, workflowUID string
}

func definePromote(flags *flag.FlagSet, p *paths) action {
	s := &promote{paths: p}
	s.defineRegistry(flags)
	flags.Func("push-secret-required", "whether the push Secret must exist, `true or false`", boolean(&s.pushSecretRequired))
	flags.StringVar(&s.digest, "digest", "", "the `digest` of the image to which the tag is moved")
	flags.StringVar(&s.model, "model", "", "the `name` of the Model; a tag with an image of another one is not moved")
	flags.StringVar(&s.workflowUID, "workflow-uid", "", "the `UID` of the Workflow, which the report names")
	return s.run
}

// run moves the tag, unless it refers to the image already, and reports what the registry
// returns for it then.
func (s *promote) run(ctx context.Context, log io.Writer) error {
	if err := s.shared.UpdateReport(func(r *report.Report) {
		*r = report.Report{Run: report.Run{WorkflowUID: s.workflowUID, Image: s.image}}
	}); err != nil {
		return err
	}
	config, err := s.checkSecret(s.pushSecretRequired, log)
	if err != nil {
		return err
	}
	tag, digest, err := s.parse(config)
	if err != nil {
		return err
	}
	repository, err := config.Open(ctx, tag.Repository, registry.Push)
	if err != nil {
		return failure.OfRegistry(err)
	}
	image, err := s.findImage(ctx, repository, tag.Digest(digest.String()))
	if err != nil {
		return err
	}
	if err := s.move(ctx, repository, tag, image, log); err != nil {
		return err
	}
	return s.shared.UpdateReport(func(r *report.Report) {
		r.Image = &report.Image{Reference: tag.String(), Digest: image.Digest.String()}
	})
}

// parse returns the tag and the digest of the flags.
func (s *promote) parse(config registry.Config) (name.Tag, v1.Hash, error) {
	tag, err := config.Tag(s.image)
	if err != nil {
		return name.Tag{}, v1.Hash{}, failure.New(v1alpha1.ReasonInvalidSpec, "the tag cannot be moved: %v", err)
	}
	digest, err := v1.NewHash(s.digest)
	if err != nil {
		return name.Tag{}, v1.Hash{}, failure.New(v1alpha1.ReasonInvalidSpec, "the parameter digest is %q: set it to the digest of an image, sha256:…", s.digest)
	}
	if s.model == "" {
		return name.Tag{}, v1.Hash{}, failure.New(v1alpha1.ReasonInvalidSpec, "the parameter model is empty: set it to the name of the Model")
	}
	return tag, digest, nil
}

// findImage returns the image to which the tag is moved, which must be one of the Model.
func (s *promote) findImage(ctx context.Context, repository *registry.Repository, ref name.Digest) (*remote.Descriptor, error) {
	image, err := repository.Fetch(ctx, ref)
	if registry.IsNotFound(err) {
		return nil, failure.New(v1alpha1.ReasonImageLost, "the registry does not have %s any more: request a rebuild of the ModelVersion with the annotation %s, or promote another one", ref, v1alpha1.AnnotationRebuild).WithCause(err)
	}
	if err != nil {
		return nil, failure.OfRegistry(err)
	}
	what, err := s.holder(repository, image)
	if err != nil {
		return nil, err
	}
	if what != "" {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "%s holds %s, and not one of Model %s: promote another ModelVersion, or set tag to false for the alias", ref, what, s.model)
	}
	return image, nil
}

// move has the tag refer to the image. A tag that holds anything but an image of the Model
// is left alone.
func (s *promote) move(ctx context.Context, repository *registry.Repository, tag name.Tag, image *remote.Descriptor, log io.Writer) error {
	before, err := repository.Fetch(ctx, tag)
	switch {
	// Some registries deny access to a tag that does not exist. The image could be read.
	case registry.IsNotFound(err), registry.IsUnauthorized(err):
		console.Logf(log, "the tag %s is free", tag.TagStr())
	case err != nil:
		return failure.OfRegistry(err)
	case before.Digest == image.Digest:
		console.Logf(log, "the tag %s refers to %s already", tag.TagStr(), image.Digest)
		return nil
	default:
		what, err := s.holder(repository, before)
		if err != nil {
			return err
		}
		if what != "" {
			return failure.New(v1alpha1.ReasonTagTaken, "the tag %s holds %s, and only a tag with an image of Model %s is moved: choose another name for the alias or, if nobody needs that image, delete it with crane delete %s", tag.TagStr(), what, s.model, tag)
		}
		console.Logf(log, "the tag %s refers to %s of the same Model", tag.TagStr(), before.Digest)
	}
	if err := repository.Tag(ctx, tag, image); err != nil {
		return failure.OfRegistry(err)
	}
	return s.verify(ctx, repository, tag, image, log)
}

// verify checks that the registry returns the image for the tag.
func (s *promote) verify(ctx context.Context, repository *registry.Repository, tag name.Tag, image *remote.Descriptor, log io.Writer) error {
	after, err := repository.Fetch(ctx, tag)
	if err != nil {
		return failure.OfRegistry(err)
	}
	if after.Digest != image.Digest {
		return failure.Verification("the tag %s refers to %s after it was moved to %s: find out who pushes there, then start the Workflow again with argo retry", tag, after.Digest, image.Digest)
	}
	console.Logf(log, "moved the tag %s to %s, and verified it", tag, image.Digest)
	return nil
}

// holder returns what a manifest is if it is not an image of the Model, or an empty string.
func (s *promote) holder(repository *registry.Repository, manifest *remote.Descriptor) (string, error) {
	_, config, err := imagesOf(manifest)
	switch {
	case err != nil:
		return "", failure.OfContent(repository, err)
	case config == nil:
		return "something that is not an image of a model", nil
	// What kubectl kiln package has made names no ModelVersion.
	case config.Config.Labels[v1alpha1.LabelModelName] != s.model:
		return holder(config.Config.Labels), nil
	}
	return "", nil
}
