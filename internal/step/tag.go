package step

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/proof"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/text"
)

// tagCheck checks what the registry holds at the tag to push.
type tagCheck struct {
	config registry.Config
	tag    name.Tag
	// lineage is that of the image to push. Its UID is empty if the build has no
	// ModelVersion. Its base image is not resolved yet.
	lineage modelimage.Lineage
	// known is the image that an earlier attempt has pushed, if the registry still has
	// it, or nil.
	known *remote.Descriptor
	// baseImage is the reference of the base image.
	baseImage string
	model     layer.Plan
	files     source.Files
	log       io.Writer
	// withoutVersion is true if an image that belongs to no ModelVersion may be that of
	// an earlier build like this one.
	withoutVersion bool
}

// run returns what the registry already holds of this ModelVersion with the same
// content. If that has no digest, the tag is free and the registry accepts pushes.
// The error is a *failure.Error with the reason TagTaken, SourceChanged or one of
// the registry's.
func (c tagCheck) run(ctx context.Context) (handoff.Expectation, error) {
	// One login with push access is used for all requests, since some registries
	// do not reveal to others whether a repository exists.
	repository, err := c.config.Open(ctx, c.tag.Repository, registry.Push)
	if err != nil {
		return handoff.Expectation{}, failure.OfRegistry(err)
	}
	descriptor, err := repository.Fetch(ctx, c.tag)
	if registry.IsUnauthorized(err) {
		err = c.checkHidden(ctx, repository, err)
	}
	if registry.IsNotFound(err) && c.known != nil {
		return c.restoreTag(ctx, repository)
	}
	if registry.IsNotFound(err) {
		console.Logf(c.log, "the tag %s is free", c.tag.TagStr())
		return handoff.Expectation{}, c.checkPush(repository)
	}
	if err != nil {
		return handoff.Expectation{}, failure.OfRegistry(err)
	}
	expectation, err := c.checkTagged(ctx, descriptor)
	if err != nil {
		return handoff.Expectation{}, failure.OfContent(repository, err)
	}
	return expectation, nil
}

// checkHidden returns an error of kind NotFound if a registry that denies access to a
// tag does so because the tag does not exist, and the reason why it denies it
// otherwise. Artifactory, Quay and Docker Hub respond with 401 or 403 for that.
func (c tagCheck) checkHidden(ctx context.Context, repository *registry.Repository, denied error) error {
	if c.known == nil {
		if repository.CheckPush(c.tag) != nil {
			return denied
		}
		if err := c.config.CheckReadable(ctx, repository); err != nil {
			return err
		}
	}
	console.Logf(c.log, "the registry denies access to the tag %s, and not to what the repository contains: the tag does not exist", c.tag.TagStr())
	return &registry.Error{Kind: registry.NotFound, Message: denied.Error(), Cause: denied}
}

// restoreTag has the tag refer again to the image that an earlier attempt has pushed.
// Only the tag was deleted, and the next retention run of the registry would delete
// the image too.
func (c tagCheck) restoreTag(ctx context.Context, repository *registry.Repository) (handoff.Expectation, error) {
	expectation, err := c.checkTagged(ctx, c.known)
	if err != nil {
		return handoff.Expectation{}, failure.OfContent(repository, err)
	}
	if err := repository.Tag(ctx, c.tag, c.known); err != nil {
		return handoff.Expectation{}, failure.OfRegistry(err)
	}
	console.Logf(c.log, "the tag %s was deleted, and refers to the image %s again", c.tag.TagStr(), c.known.Digest)
	return expectation, nil
}

// checkTagged returns what the tag holds, if that is the image of this
// ModelVersion with the same files.
func (c tagCheck) checkTagged(ctx context.Context, descriptor *remote.Descriptor) (handoff.Expectation, error) {
	images, config, err := imagesOf(descriptor)
	if err != nil {
		return handoff.Expectation{}, err
	}
	if images == nil {
		return handoff.Expectation{}, c.taken("something that is not an image that a build pushes", "")
	}
	labels := config.Config.Labels
	known := c.known != nil && descriptor.Digest == c.known.Digest
	if !known && !c.claimsVersion(labels) {
		return handoff.Expectation{}, c.taken(holder(labels), "")
	}
	console.Logf(c.log, "the tag %s holds an image of this ModelVersion, according to its labels; comparing it with the files", c.tag.TagStr())
	found, changed, err := c.compare(ctx, descriptor.Digest, images, known)
	var invalid *modelimage.InvalidError
	switch {
	case errors.As(err, &invalid):
		return handoff.Expectation{}, c.taken(holder(labels), invalid.Problem)
	case err != nil:
		return handoff.Expectation{}, err
	case changed != "" && (known || c.hasUID(labels)):
		return handoff.Expectation{}, failure.New(v1alpha1.ReasonSourceChanged, "the registry already holds this ModelVersion, and its files have changed since (%s); a pushed tag is never overwritten", changed)
	case changed != "":
		return handoff.Expectation{}, c.taken(holder(labels), "its files are not those of the model: "+changed)
	}
	console.Logf(c.log, "the files are the same")
	expectation := handoff.Expectation{Digest: descriptor.Digest.String(), BaseDiffIDs: found.BaseDiffIDs(), Layers: found.Layers()}
	if !c.hasUID(labels) {
		uid := labels[v1alpha1.LabelModelVersionUID]
		expectation.AdoptedUID = &uid
		console.Logf(c.log, "adopting the image, which an earlier ModelVersion of the same name pushed")
	}
	return expectation, nil
}

// imagesOf returns the images at a tag, one or those of an index, and the config of the
// first one. There are none for an artifact, which can be stored in the form of an image,
// for an index that no build pushes, and for a manifest or a config that cannot be
// decoded. The error is the registry's.
func imagesOf(descriptor *remote.Descriptor) (images []modelimage.Variant, first *v1.ConfigFile, err error) {
	images, err = modelimage.Variants(descriptor)
	var invalid *modelimage.InvalidError
	if errors.As(err, &invalid) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, variant := range images {
		config, err := configOf(variant.Image)
		if err != nil || config == nil {
			return nil, nil, err
		}
		if first == nil {
			first = config
		}
	}
	return images, first, nil
}

// configOf returns the config of an image, or nil for an artifact, and for a manifest or
// a config that cannot be decoded.
func configOf(image v1.Image) (*v1.ConfigFile, error) {
	manifest, err := image.Manifest()
	if err != nil || !manifest.Config.MediaType.IsConfig() {
		return nil, nil //nolint:nilerr // The manifest was fetched before.
	}
	if _, err := image.RawConfigFile(); err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, nil //nolint:nilerr // The config was fetched before.
	}
	return config, nil
}

// compare describes how the files of the model differ from those of the images at a
// tag, or returns "". Unless an earlier attempt reported them, the rest of them is
// compared too. The error is a *modelimage.InvalidError for images that this build would
// not push.
func (c tagCheck) compare(ctx context.Context, digest v1.Hash, images []modelimage.Variant, known bool) (found proof.Tagged, changed string, err error) {
	if found, err = proof.Open(digest, images); err != nil {
		return found, "", err
	}
	from := proof.Source{Files: c.files, Model: c.model}
	if known {
		changed, err = found.ChangedFiles(ctx, from)
		return found, changed, err
	}
	base, err := findBase(ctx, c.config, c.baseImage)
	if err != nil {
		return found, "", err
	}
	content, err := base.inspect(ctx, c.model.ModelDir())
	if err != nil {
		return found, "", err
	}
	lineage := c.lineage
	lineage.Base = base.BaseImage
	for number, variant := range base.images {
		from.Bases = append(from.Bases, proof.Base{Variant: variant, Labels: lineage.Labels(base.Variants[number])})
	}
	from.FreeLabels, from.HasKServeDir, from.HasModel = lineage.FreeLabels(), content.HasKServeDir, content.HasModel
	changed, err = found.Prove(ctx, from)
	return found, changed, err
}

// claimsVersion reports whether an image claims to be one of this ModelVersion, or of
// an earlier one with the same name, which was deleted.
func (c tagCheck) claimsVersion(labels map[string]string) bool {
	if c.withoutVersion && c.hasUID(labels) {
		return true
	}
	sameName := c.lineage.Model != "" && labels[v1alpha1.LabelModelName] == c.lineage.Model &&
		c.lineage.ModelVersion != "" && labels[v1alpha1.LabelModelVersion] == c.lineage.ModelVersion
	return c.lineage.ModelVersionUID != "" && (sameName || c.hasUID(labels))
}

func (c tagCheck) hasUID(labels map[string]string) bool {
	return labels[v1alpha1.LabelModelVersionUID] == c.lineage.ModelVersionUID
}

// taken returns the failure of a tag that holds something else. problem is why an
// image that claims to be this ModelVersion's is not; empty is no claim.
func (c tagCheck) taken(what, problem string) *failure.Error {
	if problem != "" {
		problem = ", but is not what this build would push: " + text.OneLine(problem, maxProblem)
	}
	// The whole reference is in the message once, so that the command at its end fits.
	return failure.New(v1alpha1.ReasonTagTaken, "the tag %s already holds %s%s; tags are never overwritten: choose another imageTag or, if nobody needs that image, delete it with crane delete %s", c.tag.TagStr(), what, problem, c.tag)
}

// maxProblem and maxName are how many characters of a problem, and of a name in an
// image's labels, a message holds.
const (
	maxProblem = 160
	maxName    = 63
)

// holder returns what an image's labels say that it is.
func holder(labels map[string]string) string {
	model, version := labels[v1alpha1.LabelModelName], labels[v1alpha1.LabelModelVersion]
	if model == "" && version == "" {
		return "an image that names no ModelVersion"
	}
	says := fmt.Sprintf("an image with the labels of ModelVersion %q of Model %q", text.OneLine(version, maxName), text.OneLine(model, maxName))
	if uid := labels[v1alpha1.LabelModelVersionUID]; uid != "" {
		says += fmt.Sprintf(", UID %q", text.OneLine(uid, maxName))
	}
	return says
}

func (c tagCheck) checkPush(repository *registry.Repository) error {
	err := repository.CheckPush(c.tag)
	var e *registry.Error
	if errors.As(err, &e) && e.Kind == registry.NotFound {
		return failure.New(v1alpha1.ReasonRepositoryMissing, "the registry %s has no repository %s, or the build may not push to it: create the repository, or correct imageRepo", c.tag.RegistryStr(), c.tag.RepositoryStr()).WithCause(err)
	}
	if err != nil {
		return failure.OfRegistry(err)
	}
	console.Logf(c.log, "the registry %s accepts pushes to %s; credentials: %s", c.tag.RegistryStr(), c.tag.RepositoryStr(), c.config.Credentials.Account(c.tag.Repository))
	return nil
}
