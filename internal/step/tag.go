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
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// tagCheck finds out what is at the tag that the image is to have.
type tagCheck struct {
	config registry.Config
	tag    name.Tag
	// versionUID is the UID of the ModelVersion, or empty when no image is
	// known to be its own.
	versionUID string
	plan       layer.Plan
	root       *os.Root
	out        io.Writer
	// anySize says that the upload finds a limit to the size of a request by
	// itself, and heeds it.
	anySize bool
}

// run returns what the registry holds of this version with this content
// already. If that has no digest, the tag is free, and the registry lets the
// build push. An error is a *failure.Error with the reason TagTaken,
// SourceChanged or one of the registry's.
func (c tagCheck) run(ctx context.Context) (expected, error) {
	// One login with the right to push answers all questions: some registries
	// do not tell others whether a repository exists.
	repository, err := c.config.Open(ctx, c.tag.Repository, registry.Push)
	if err != nil {
		return expected{}, ofRegistry(err)
	}
	descriptor, err := repository.Fetch(ctx, c.tag)
	if registry.IsNotFound(err) {
		say(c.out, "the tag %s is free", c.tag.TagStr())
		return expected{}, c.checkPush(ctx, repository)
	}
	if err != nil {
		return expected{}, ofRegistry(err)
	}
	image, ours, err := c.isOurs(descriptor)
	if err != nil {
		return expected{}, ofRegistry(repository.Explain(err))
	}
	if !ours {
		return expected{}, failure.New(v1alpha1.ReasonTagTaken, "the tag %s already holds something else than this version, and nothing is overwritten: choose another imageTag", c.tag)
	}
	say(c.out, "the tag %s holds this version; comparing its files", c.tag.TagStr())
	held, found, err := readManifest(image)
	if err != nil {
		return expected{}, ofContent(repository, err)
	}
	if !found {
		return expected{}, failure.New(v1alpha1.ReasonTagTaken, "the tag %s holds this version without a list of its files, so that it cannot be compared: delete the tag, or choose another imageTag", c.tag)
	}
	return expected{Digest: descriptor.Digest.String(), Layers: held.Layers}, c.compare(ctx, held)
}

func (c tagCheck) checkPush(ctx context.Context, repository *registry.Repository) error {
	err := repository.CheckPush(c.tag)
	if registry.IsNotFound(err) {
		return failure.New(v1alpha1.ReasonRegistryUnauthorized, "the registry %s has no repository %s that the build may push to: create it, or correct imageRepo", c.tag.RegistryStr(), c.tag.RepositoryStr()).Because(err)
	}
	if err != nil {
		return ofRegistry(err)
	}
	say(c.out, "the registry %s lets the build push to %s", c.tag.RegistryStr(), c.tag.RepositoryStr())
	if c.anySize {
		return nil
	}
	return c.checkSize(ctx, repository)
}

// smallestLimit is the smallest limit that is asked about, in bytes: that of
// nginx where nobody has set another (client_max_body_size).
const smallestLimit = 1 << 20

// checkSize asks the registry whether it takes the largest file.
func (c tagCheck) checkSize(ctx context.Context, repository *registry.Repository) error {
	var largest layer.Entry
	for _, e := range c.plan.Entries() {
		if e.Size > largest.Size {
			largest = e
		}
	}
	if largest.Size < smallestLimit {
		return nil
	}
	least := leastUpload(ctx, c.root, largest)
	if least < smallestLimit {
		return nil
	}
	if err := repository.CheckSize(ctx, least); err != nil {
		var full *registry.Error
		if errors.As(err, &full) && full.Kind == registry.QuotaExceeded {
			return failure.New(v1alpha1.ReasonRegistryFull, "the registry %s takes no upload as large as the file %s will be, %s or more: have its limit or its quota raised", c.tag.RegistryStr(), largest.Path, size(least)).Because(err)
		}
		return ofRegistry(err)
	}
	say(c.out, "the registry sets no limit below %s, which the largest file will take", size(least))
	return nil
}

// isOurs says whether the tag holds an image of this version.
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
		// Something else than an image, stored in the form of one.
		return nil, false, nil
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, false, err
	}
	return image, config.Config.Labels[v1alpha1.LabelModelVersionUID] == c.versionUID, nil
}

// compare returns a failure when the source is not what the image holds. It
// reads the files only when their names, sizes and modes are the same.
func (c tagCheck) compare(ctx context.Context, held layer.Manifest) error {
	difference := layer.Difference(held, layer.NewManifest(c.plan, nil))
	if difference == "" {
		var err error
		if difference, err = c.compareContent(ctx, held); err != nil {
			return err
		}
	}
	if difference != "" {
		return failure.New(v1alpha1.ReasonSourceChanged, "the registry holds this version already, and its files have changed since, as %s: make a new ModelVersion", difference)
	}
	say(c.out, "the files are the same")
	return nil
}

// compareContent says in words how the content of the files differs from what an
// image holds, or "". Kaniko's lists have a digest for each file, and Stream's
// have one for each layer.
func (c tagCheck) compareContent(ctx context.Context, held layer.Manifest) (string, error) {
	if held.Streamed {
		return changedLayer(ctx, c.root, c.plan, held)
	}
	digests := map[string]string{}
	for _, e := range c.plan.Entries() {
		if e.Type != layer.File {
			continue
		}
		digest, err := source.Read(ctx, c.root, e, io.Discard)
		if err != nil {
			return "", err
		}
		digests[e.Path] = digest
	}
	return layer.Difference(held, layer.NewManifest(c.plan, digests)), nil
}
