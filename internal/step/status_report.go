package step

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// maxConcurrentBlobs is how many blobs are checked at the same time.
const maxConcurrentBlobs = 8

// statusReport is the third step. It verifies what the registry holds.
type statusReport struct {
	*paths
	registryFlags
	signing         signing
	modelVersionUID string
}

func defineStatusReport(flags *flag.FlagSet, p *paths) action {
	s := &statusReport{paths: p}
	s.defineRegistry(flags)
	s.signing.define(flags)
	flags.StringVar(&s.modelVersionUID, "model-version-uid", "", "the `UID` of the ModelVersion; empty in a build without one")
	return s.run
}

func (s *statusReport) run(ctx context.Context, log io.Writer) error {
	debug.SetMemoryLimit(memoryTarget)
	r, err := s.readReport()
	if err != nil {
		return err
	}
	key, err := s.signing.key(log)
	if err != nil {
		return err
	}
	want, err := s.shared.ReadExpectation()
	if err != nil {
		return err
	}
	config, tag, repository, err := s.open(ctx, key != nil && !want.IsStored)
	if err != nil {
		return err
	}
	images, descriptor, err := getImages(ctx, repository, tag, want)
	if denied := heldBack(err, want); denied != nil {
		image := held(r, want, denied)
		if image.Signature, err = s.signHeld(ctx, key, repository, want, image, log); err != nil {
			return err
		}
		// The policy may have required the signature.
		if images, descriptor, err = getImages(ctx, repository, tag, want); heldBack(err, want) != nil {
			return s.report(image, tag, config)
		}
	}
	if err != nil {
		return failure.OfContent(repository, err)
	}
	digest := descriptor.Digest.String()
	console.Logf(log, "the registry returns %s with the digest %s", tag, digest)
	if want.Digest != digest {
		return failure.Verification("the tag %s was moved from %s to another image during the build: find out who pushes there, then build again", tag, want.Digest)
	}
	verified, err := s.verifyAll(ctx, repository, images, *r.Source, want)
	if err != nil {
		return err
	}
	verified.Reference, verified.Digest = tag.String(), digest
	logVerified(log, verified, *r.Source, want)
	of := signed{
		repository: repository, reference: tag.String(), subject: descriptor, images: images, list: want.ManifestSHA256,
		found: !want.IsPushed(), stored: want.IsStored, report: r,
	}
	if verified.Signature, err = s.sign(ctx, key, of, log); err != nil {
		return err
	}
	console.Logf(log, "%s: %s", outcome(r), pushed(verified))
	return s.report(verified, tag, config)
}

// logVerified logs what was verified.
func logVerified(log io.Writer, verified *report.Image, model report.Source, want handoff.Expectation) {
	console.Logf(log, "all %s are in the registry, %s", console.Count(verified.Layers, "layer"), console.Size(verified.Bytes))
	if !want.IsStored {
		console.Logf(log, "the layers hold all %s, %s; KUBEDL_MODEL_PATH and the labels are set", console.Count(model.Files, "file"), console.Size(model.Bytes))
	}
}

// open logs in to the repository, to push if something is signed.
func (s *statusReport) open(ctx context.Context, signs bool) (registry.Config, name.Tag, *registry.Repository, error) {
	config, err := s.config()
	if err != nil {
		return config, name.Tag{}, nil, err
	}
	tag, err := config.Tag(s.image)
	if err != nil {
		return config, tag, nil, failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be verified: %v", err)
	}
	access := registry.Pull
	if signs {
		access = registry.Push
	}
	repository, err := config.Open(ctx, tag.Repository, access)
	return config, tag, repository, failure.OfRegistry(err)
}

// sign signs the image that was verified, if there is a key.
func (s *statusReport) sign(ctx context.Context, key *sign.Key, of signed, log io.Writer) (signature *report.Signature, err error) {
	if key == nil {
		return nil, nil
	}
	if of.plan, err = s.shared.ReadPlan(); err != nil {
		return nil, err
	}
	of.image = sign.Image{Repository: of.repository.Name(), Digest: of.subject.Digest.String()}
	return s.signing.sign(ctx, key, of, log)
}

// heldBack returns the error of a registry that does not return what this build has
// pushed because of a policy, or nil.
func heldBack(err error, want handoff.Expectation) *registry.Error {
	var denied *registry.Error
	if errors.As(err, &denied) && denied.Kind == registry.PolicyDenied && want.IsPushed() {
		return denied
	}
	return nil
}

// signHeld signs an image that the registry holds back, by the digest that was pushed, if
// there is a key. If the registry does not accept the signature, the image says how it is
// signed later, unless it must be signed now.
func (s *statusReport) signHeld(ctx context.Context, key *sign.Key, repository *registry.Repository, want handoff.Expectation, image *report.Image, log io.Writer) (*report.Signature, error) {
	if key == nil {
		console.Logf(log, "pushed, and not verified: %s", image.HeldBack)
		return nil, nil
	}
	signature, err := s.signing.signHeld(ctx, key, repository, want)
	if err == nil {
		console.Logf(log, "pushed and signed with the key of Secret %s, %s, and not verified: %s", s.signing.secret, signature.KeyID, image.HeldBack)
		return signature, nil
	}
	if s.signing.required {
		return nil, err
	}
	image.HeldBack += fmt.Sprintf(". The image is not signed: request a rebuild of the ModelVersion with the annotation %s when the policy allows the build to pull it", v1alpha1.AnnotationRebuild)
	console.Logf(log, "pushed, and neither verified nor signed (%v): %s", err, image.HeldBack)
	return nil, nil
}

// report adds the image to the report.
func (s *statusReport) report(image *report.Image, tag name.Tag, config registry.Config) error {
	plan, err := s.shared.ReadPlan()
	if err != nil {
		return err
	}
	if dir := plan.Model.ModelDir(); dir != layer.ModelDir {
		image.ModelPath = "/" + dir
	}
	image.Reference, image.PullSecret = tag.String(), s.pullSecret(config, tag)
	return s.shared.UpdateReport(func(r *report.Report) { r.Image = image })
}

// held returns what is known of an image that this build has pushed, and that a policy
// of the registry holds back. The registry has accepted the digest and everything to
// which it refers: it would have rejected the manifest otherwise.
func held(r report.Report, want handoff.Expectation, denied *registry.Error) *report.Image {
	base := 0
	for _, diffIDs := range want.BaseDiffIDs {
		base = max(base, len(diffIDs))
	}
	return &report.Image{
		Digest: want.Digest, Layers: base + len(want.Layers) + 1, Bytes: r.Build.SentBytes + r.Build.ReusedBytes, HeldBack: denied.Message,
	}
}

// readReport returns the report of the earlier steps.
func (s *statusReport) readReport() (report.Report, error) {
	r, err := s.shared.ReadReport()
	if err == nil && (r.Source == nil || (r.Build == nil && !r.Source.AlreadyPushed)) {
		err = errors.New("there is nothing to verify: an earlier step did not complete")
	}
	return r, err
}

// outcome returns the outcome of a build or a promotion for the last line of the log.
func outcome(r report.Report) string {
	if r.Source == nil {
		return "the tag was moved and verified"
	}
	if r.Source.AlreadyPushed {
		return "verified, already in the registry"
	}
	return "pushed and verified"
}

// pullSecret returns the name of the Secret whose credentials are used for the
// registry, or "" for anonymous access.
func (s *statusReport) pullSecret(config registry.Config, tag name.Tag) string {
	if !config.Credentials.Has(tag.Repository) {
		return ""
	}
	return s.pushSecret
}

// getImages fetches the image at a tag, or those of the index there.
func getImages(ctx context.Context, repository *registry.Repository, tag name.Tag, want handoff.Expectation) ([]modelimage.Variant, v1.Descriptor, error) {
	descriptor, err := repository.Fetch(ctx, tag)
	if registry.IsNotFound(err) {
		return nil, v1.Descriptor{}, failure.Verification("the registry does not have %s after the push: build again", tag).WithCause(err)
	}
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	open := modelimage.Variants
	if want.IsStored {
		open = modelimage.Existing
	}
	images, err := open(descriptor)
	var invalid *modelimage.InvalidError
	if errors.As(err, &invalid) {
		return nil, v1.Descriptor{}, failure.Verification("the registry has %s at %s, which is not the image of a model: %s", descriptor.MediaType, tag, invalid.Problem)
	}
	if err != nil {
		return nil, v1.Descriptor{}, failure.OfContent(repository, err)
	}
	return images, descriptor.Descriptor, nil
}

// verifyAll checks the images for all platforms. It returns the first one, whose layers
// of the model all of them have.
func (s *statusReport) verifyAll(ctx context.Context, repository *registry.Repository, images []modelimage.Variant, model report.Source, want handoff.Expectation) (first *report.Image, err error) {
	if !want.IsStored && len(images) != len(want.BaseDiffIDs) {
		return nil, failure.BrokenImage("the registry has images for %d platforms instead of %d", len(images), len(want.BaseDiffIDs))
	}
	for number, variant := range images {
		// mount-check has compared an image that is the storage with what was requested.
		if !want.IsStored {
			if err := s.verifyContent(repository, variant.Image, model, want, want.BaseDiffIDs[number]); err != nil {
				return nil, err
			}
		}
		verified, err := verifyStored(ctx, repository, variant.Image)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = verified
		}
	}
	return first, nil
}

// verifyContent checks the image for one platform, whose base image has layers with the
// given archives, against what the earlier steps left.
func (s *statusReport) verifyContent(repository *registry.Repository, image v1.Image, model report.Source, want handoff.Expectation, baseDiffIDs []string) error {
	config, err := image.ConfigFile()
	if err != nil {
		return failure.OfContent(repository, err)
	}
	if err := verifyConfig(config, *cmp.Or(want.AdoptedUID, &s.modelVersionUID)); err != nil {
		return err
	}
	if err := verifyLayers(modelimage.DiffIDs(config), baseDiffIDs, want.Layers, model); err != nil {
		return err
	}
	// mount-check has compared the manifest of an image that it found.
	if want.IsPushed() {
		return verifyManifest(repository, image, want.ManifestSHA256)
	}
	return nil
}

// verifyStored checks that the registry has all of the image for one platform.
func verifyStored(ctx context.Context, repository *registry.Repository, image v1.Image) (*report.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, failure.OfContent(repository, err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, failure.OfContent(repository, err)
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, failure.BrokenImage("the image's manifest has %s and its config %d", console.Count(len(manifest.Layers), "layer"), len(config.RootFS.DiffIDs))
	}
	if err := verifyBlobs(ctx, repository, manifest.Layers); err != nil {
		return nil, err
	}
	verified := &report.Image{Layers: len(manifest.Layers)}
	for _, blob := range manifest.Layers {
		verified.Bytes += blob.Size
	}
	return verified, nil
}

// verifyConfig checks what containers and later builds read from the config. uid is
// the UID in the image's labels.
func verifyConfig(config *v1.ConfigFile, uid string) error {
	want := v1alpha1.ModelPathEnv + "=" + v1alpha1.ModelPath
	if !slices.Contains(config.Config.Env, want) {
		return failure.BrokenImage("the image in the registry does not set %s", want)
	}
	if got := config.Config.Labels[v1alpha1.LabelModelVersionUID]; got != uid {
		return failure.Verification("the image in the registry belongs to another ModelVersion, with the UID %q: choose another imageTag, or delete the tag if it is not in use", got)
	}
	return nil
}

// verifyLayers checks that the image has the layers of the base image, those that
// the engine built, and the one with the manifest of the model's files, in this order
// and no others, and that together they hold every file.
func verifyLayers(diffIDs, baseDiffIDs []string, layers []layer.BuiltLayer, model report.Source) error {
	var files, bytes int64
	expected := slices.Clone(baseDiffIDs)
	for _, l := range layers {
		if !slices.Contains(diffIDs, l.DiffID) {
			return failure.BrokenImage("the image in the registry lacks the layer %s, which holds %s", l.DiffID, console.Count(l.Files, "file"))
		}
		expected = append(expected, l.DiffID)
		files += l.Files
		bytes += l.Bytes
	}
	if files != model.Files || bytes != model.Bytes {
		return failure.BrokenImage("the image's layers hold %s with %d bytes, and the model %s with %d bytes", console.Count(files, "file"), bytes, console.Count(model.Files, "file"), model.Bytes)
	}
	switch manifestLayers := len(diffIDs) - len(expected); {
	case manifestLayers == 0 && slices.Equal(diffIDs, expected):
		return failure.BrokenImage("the image in the registry lacks the manifest of the model's files")
	case manifestLayers != 1 || !slices.Equal(diffIDs[:len(expected)], expected):
		return failure.BrokenImage("the image in the registry has other layers than those of the base image, the model and the manifest of its files")
	}
	return nil
}

// verifyManifest checks that the model's manifest in the image is the one that the
// engine wrote.
func verifyManifest(repository *registry.Repository, image v1.Image, want string) error {
	digest, err := modelimage.ManifestDigest(image)
	var invalid *modelimage.InvalidError
	if errors.As(err, &invalid) {
		return failure.BrokenImage("the image in the registry is damaged: %s", invalid.Problem)
	}
	if err != nil {
		return failure.OfContent(repository, err)
	}
	if digest != want {
		return failure.BrokenImage("the manifest in the image lists other files than were packaged")
	}
	return nil
}

// verifyBlobs checks that the registry has each layer in its full size.
func verifyBlobs(ctx context.Context, repository *registry.Repository, blobs []v1.Descriptor) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentBlobs)
	for _, blob := range blobs {
		if len(blob.URLs) > 0 {
			// A layer that is stored elsewhere, as those of some base images are.
			continue
		}
		group.Go(func() error {
			size, err := repository.Stat(ctx, blob.Digest)
			if registry.IsNotFound(err) {
				return failure.BrokenImage("the registry lacks the layer %s of the image", blob.Digest).WithCause(err)
			}
			if err != nil {
				return failure.OfRegistry(err)
			}
			if size != blob.Size && size != registry.UnknownSize {
				return failure.BrokenImage("the registry has %d bytes of the layer %s, whose size is %d bytes", size, blob.Digest, blob.Size)
			}
			return nil
		})
	}
	return group.Wait()
}
