package step

import (
	"context"
	"errors"
	"io"
	"os"

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
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/step/stream"
)

// tagCheck checks what the registry holds at the tag to push.
type tagCheck struct {
	config registry.Config
	tag    name.Tag
	// versionUID is the UID of the ModelVersion, or empty if the build has none,
	// so that no image can be its own.
	versionUID string
	model      layer.Plan
	root       *os.Root
	log        io.Writer
	// skipSize skips the check of the upload size, for an engine that adapts to
	// a limit of the registry.
	skipSize bool
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
	if registry.IsNotFound(err) {
		console.Logf(c.log, "the tag %s is free", c.tag.TagStr())
		return handoff.Expectation{}, c.checkPush(ctx, repository)
	}
	if err != nil {
		return handoff.Expectation{}, failure.OfRegistry(err)
	}
	image, ours, err := c.isOurs(descriptor)
	if err != nil {
		return handoff.Expectation{}, failure.OfContent(repository, err)
	}
	if !ours {
		return handoff.Expectation{}, failure.New(v1alpha1.ReasonTagTaken, "the tag %s already holds something other than this ModelVersion, and tags are never overwritten: choose another imageTag", c.tag)
	}
	console.Logf(c.log, "the tag %s holds this ModelVersion; comparing its files", c.tag.TagStr())
	manifest, found, err := modelimage.ReadManifest(image)
	if err != nil {
		return handoff.Expectation{}, failure.OfContent(repository, err)
	}
	if !found {
		return handoff.Expectation{}, failure.New(v1alpha1.ReasonTagTaken, "the tag %s holds this ModelVersion without a manifest of its files, so it cannot be compared: delete the tag, or choose another imageTag", c.tag)
	}
	return handoff.Expectation{Digest: descriptor.Digest.String(), Layers: manifest.Layers}, c.compare(ctx, manifest)
}

func (c tagCheck) checkPush(ctx context.Context, repository *registry.Repository) error {
	err := repository.CheckPush(c.tag)
	if registry.IsNotFound(err) {
		return failure.New(v1alpha1.ReasonRegistryUnauthorized, "the registry %s has no repository %s, or the build may not push to it: create the repository, or correct imageRepo", c.tag.RegistryStr(), c.tag.RepositoryStr()).WithCause(err)
	}
	if err != nil {
		return failure.OfRegistry(err)
	}
	console.Logf(c.log, "the registry %s accepts pushes to %s", c.tag.RegistryStr(), c.tag.RepositoryStr())
	if c.skipSize {
		return nil
	}
	return c.checkSize(ctx, repository)
}

// minCheckedSize is the size in bytes below which uploads are not checked: the
// default limit of nginx (client_max_body_size).
const minCheckedSize = 1 << 20

// checkSize checks that the registry accepts an upload as large as the largest
// file.
func (c tagCheck) checkSize(ctx context.Context, repository *registry.Repository) error {
	var largest layer.Entry
	for _, e := range c.model.Entries() {
		if e.Size > largest.Size {
			largest = e
		}
	}
	if largest.Size < minCheckedSize {
		return nil
	}
	size := minUploadSize(ctx, c.root, largest)
	if size < minCheckedSize {
		return nil
	}
	if err := repository.CheckSize(ctx, size); err != nil {
		var e *registry.Error
		if errors.As(err, &e) && e.Kind == registry.QuotaExceeded {
			return failure.New(v1alpha1.ReasonRegistryFull, "the registry %s refuses uploads as large as that of the file %s, which is at least %s: have its limit or quota increased", c.tag.RegistryStr(), largest.Path, console.Size(size)).WithCause(err)
		}
		return failure.OfRegistry(err)
	}
	console.Logf(c.log, "the registry accepts uploads of %s, the minimum for the largest file", console.Size(size))
	return nil
}

// isOurs reports whether the tag holds an image of this ModelVersion.
func (c tagCheck) isOurs(descriptor *remote.Descriptor) (image v1.Image, ours bool, err error) {
	if c.versionUID == "" || !descriptor.MediaType.IsImage() {
		return nil, false, nil
	}
	image, err = descriptor.Image()
	if err != nil {
		return nil, false, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, false, err
	}
	if !manifest.Config.MediaType.IsConfig() {
		// An artifact that is stored in the form of an image.
		return nil, false, nil
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, false, err
	}
	return image, config.Config.Labels[v1alpha1.LabelModelVersionUID] == c.versionUID, nil
}

// compare returns a failure if the source differs from what the image holds. It
// reads the files only if their names, sizes and modes are the same.
func (c tagCheck) compare(ctx context.Context, manifest layer.Manifest) error {
	difference := layer.Difference(manifest, layer.NewManifest(c.model, nil))
	if difference == "" {
		var err error
		if difference, err = c.compareContent(ctx, manifest); err != nil {
			return err
		}
	}
	if difference != "" {
		return failure.New(v1alpha1.ReasonSourceChanged, "the registry already holds this ModelVersion, and its files have changed since (%s); a pushed tag is never overwritten", difference)
	}
	console.Logf(c.log, "the files are the same")
	return nil
}

// compareContent describes how the content of the files differs from that of an
// image, or returns "". A manifest of Kaniko has a digest for each file, and one of
// Stream for each layer.
func (c tagCheck) compareContent(ctx context.Context, manifest layer.Manifest) (string, error) {
	if manifest.Streamed {
		return stream.ChangedLayer(ctx, c.root, c.model, manifest)
	}
	digests := map[string]string{}
	for _, e := range c.model.Entries() {
		if e.Type != layer.File {
			continue
		}
		digest, err := source.Read(ctx, c.root, e, io.Discard)
		if err != nil {
			return "", err
		}
		digests[e.Path] = digest
	}
	return layer.Difference(manifest, layer.NewManifest(c.model, digests)), nil
}
