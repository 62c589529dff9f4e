package step

import (
	"context"
	"errors"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/proof"
	"github.com/modelkiln/modelkiln/internal/text"
)

// checkStoredImage checks the image that is the model's storage: that the tag holds the
// requested digest, and that the image is that of a model. Nothing is packaged or pushed,
// so that credentials which can only pull are enough.
func (m *mountCheck) checkStoredImage(ctx context.Context, config registry.Config, tag name.Tag, log io.Writer) error {
	want, err := v1.NewHash(m.imageDigest)
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the image digest %.80q is not a digest: write it as sha256:…", m.imageDigest)
	}
	repository, err := config.Open(ctx, tag.Repository, registry.Pull)
	if err != nil {
		return failure.OfRegistry(err)
	}
	descriptor, err := repository.Fetch(ctx, tag)
	if registry.IsNotFound(err) {
		return m.notTagged(ctx, repository, tag, v1.Hash{})
	}
	if err != nil {
		return failure.OfRegistry(err)
	}
	if descriptor.Digest != want {
		return m.notTagged(ctx, repository, tag, descriptor.Digest)
	}
	console.Logf(log, "the tag %s holds the image %s", tag.TagStr(), want)
	images, err := modelimage.Existing(descriptor)
	if err != nil {
		return unusable(repository, err)
	}
	plan := handoff.Plan{}
	plan.Model.Dir = m.modelDir
	found, err := inspectModel(ctx, want, images, plan.Model.ModelDir(), log)
	if err != nil {
		return unusable(repository, err)
	}
	if err := m.shared.UpdateReport(func(r *report.Report) { r.Source = &found.Source }); err != nil {
		return err
	}
	return m.handOff(plan, handoff.Expectation{Digest: want.String(), Layers: found.layers, IsStored: true})
}

// notTagged returns the failure of a tag that does not hold the requested image: there
// is none, if its digest is the zero value, or it holds another image. The report says so
// if the registry does not have the image either, and an earlier attempt has verified it.
func (m *mountCheck) notTagged(ctx context.Context, repository *registry.Repository, tag name.Tag, holds v1.Hash) error {
	pinned := tag.Digest(m.imageDigest)
	_, err := repository.Fetch(ctx, pinned)
	isLost := registry.IsNotFound(err)
	if err != nil && !isLost {
		return failure.OfRegistry(err)
	}
	if isLost && m.knownDigest != "" {
		if err := m.shared.UpdateReport(func(r *report.Report) { r.ImageLost = true }); err != nil {
			return err
		}
	}
	none := holds == (v1.Hash{})
	switch {
	case none && isLost:
		return failure.New(v1alpha1.ReasonSourceMissing, "the registry has no image %s: push it there, or create a new ModelVersion with another imageRepo or imageTag", tag)
	case none:
		return failure.New(v1alpha1.ReasonSourceMissing, "the registry has the image, but no tag %s: have the tag refer to it with crane tag %s %s", tag.TagStr(), pinned, tag.TagStr())
	case isLost:
		return failure.New(v1alpha1.ReasonTagMoved, "the tag %s holds %s, and the registry does not have the digest in spec.storage.image: if %s is the model, create a new ModelVersion with its digest", tag.TagStr(), holds, tag)
	default:
		return failure.New(v1alpha1.ReasonTagMoved, "the tag %s holds %s and not the digest in spec.storage.image: create a new ModelVersion with the digest of the tag, or have the tag refer to the image again with crane tag %s %s", tag.TagStr(), holds, pinned, tag.TagStr())
	}
}

// unusable returns the failure of an image that is not that of a model.
func unusable(repository *registry.Repository, err error) error {
	var invalid *modelimage.InvalidError
	if errors.As(err, &invalid) {
		return failure.New(v1alpha1.ReasonSourceUnsafe, "the image is not one that can be served: %s. Push the image of a model, and create a new ModelVersion with its digest", invalid.Problem)
	}
	return failure.OfContent(repository, err)
}

// storedModel is what an image says of the model that it holds.
type storedModel struct {
	report.Source
	// layers are those of the model; nil if the image has no manifest of its files.
	layers []layer.BuiltLayer
}

// inspectModel finds the model in its directory in the images for each platform. If all
// of them have the manifest of their files that builds write, the layers must be those
// that it names.
func inspectModel(ctx context.Context, digest v1.Hash, images []modelimage.Variant, dir string, log io.Writer) (storedModel, error) {
	found := storedModel{Source: report.Source{AlreadyPushed: true}}
	isListed := true
	for _, variant := range images {
		listed, err := modelimage.HasManifest(variant.Image)
		if err != nil {
			return found, err
		}
		isListed = isListed && listed
	}
	if isListed {
		return inspectListed(digest, images, dir, log)
	}
	for _, variant := range images {
		hasFiles, err := modelimage.HasFiles(ctx, variant.Image, dir)
		if err != nil {
			return found, err
		}
		if !hasFiles {
			return found, failure.New(v1alpha1.ReasonSourceMissing, "the image has no file in /%s (platform %q), so it is not the image of a model. If the model is in another directory, create a new ModelVersion with that in spec.build.modelPath", dir, text.OneLine(variant.Platform.OS+"/"+variant.Platform.Architecture, maxName))
		}
	}
	console.Logf(log, "the image has files in /%s, and no list of them", dir)
	return found, nil
}

// inspectListed is inspectModel for images with the manifest of their files.
func inspectListed(digest v1.Hash, images []modelimage.Variant, dir string, log io.Writer) (storedModel, error) {
	found := storedModel{Source: report.Source{AlreadyPushed: true}}
	tagged, err := proof.Open(digest, images)
	var invalid *modelimage.InvalidError
	if errors.As(err, &invalid) {
		return found, failure.New(v1alpha1.ReasonSourceIncomplete, "the list of files in the image does not agree with its layers: %s. Package the model again", invalid.Problem)
	}
	if err != nil {
		return found, err
	}
	manifest := tagged.Files()
	if other := (layer.Plan{Dir: manifest.Dir}).ModelDir(); other != dir {
		return found, failure.New(v1alpha1.ReasonSourceMissing, "the image has the model in %.140q and not in /%s: create a new ModelVersion with that directory in spec.build.modelPath", "/"+other, dir)
	}
	for _, entry := range manifest.Entries {
		if entry.Type == layer.File && entry.Size >= 0 {
			found.Files, found.Bytes = found.Files+1, found.Bytes+entry.Size
		}
	}
	found.layers = tagged.Layers()
	console.Logf(log, "the image has %s, %s, in /%s; its layers are those that its list of files names", console.Count(found.Files, "file"), console.Size(found.Bytes), dir)
	return found, nil
}
