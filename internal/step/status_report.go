package step

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// blobsAtATime is how many layers the registry is asked for at the same time.
const blobsAtATime = 8

// statusReport is the third step: it asks the registry what it really holds.
type statusReport struct {
	*places
	registryFlags
	modelVersionUID string
}

func defineStatusReport(flags *flag.FlagSet, at *places) action {
	s := &statusReport{places: at}
	s.defineRegistry(flags)
	flags.StringVar(&s.modelVersionUID, "model-version-uid", "", "the UID of the ModelVersion, if there is one")
	return s.run
}

func (s *statusReport) run(ctx context.Context, out io.Writer) error {
	soFar, err := report.Read(s.shared)
	if err != nil {
		return err
	}
	if soFar.Source == nil || (soFar.Build == nil && !soFar.Source.AlreadyPushed) {
		return fmt.Errorf("an earlier step has left nothing to verify")
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	tag, err := config.Tag(s.image)
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be verified: %v", err)
	}
	repository, err := config.Open(ctx, tag.Repository, registry.Pull)
	if err != nil {
		return ofRegistry(err)
	}
	image, digest, err := get(ctx, repository, tag)
	if err != nil {
		return err
	}
	say(out, "the registry serves %s with the digest %s", tag, digest)
	want, err := readExpected(s.shared)
	if err != nil {
		return err
	}
	if want.Digest != "" && want.Digest != digest.String() {
		return notVerified("the tag %s was given to another image than %s while the build ran: see who pushes there, then build again", tag, want.Digest)
	}

	found, err := s.verify(ctx, repository, image, soFar, want)
	if err != nil {
		return err
	}
	found.Reference, found.Digest, found.PullSecret = tag.String(), digest.String(), s.secretFor(config, tag)
	say(out, "it has all %d layers, %s; KUBEDL_MODEL_PATH and the lineage are set", found.Layers, size(found.Bytes))
	say(out, "its layers hold all %d files, %s", soFar.Source.Files, size(soFar.Source.Bytes))
	say(out, "%s: %s@%s", outcome(soFar), tag, digest)
	return addToReport(s.shared, func(r *report.Report) { r.Image = found })
}

// outcome is what a build came to, in the log's last words.
func outcome(soFar report.Report) string {
	if soFar.Source.AlreadyPushed {
		return "verified, and was in the registry already"
	}
	return "pushed and verified"
}

// secretFor is the name of the Secret with whose credentials the registry is
// asked; empty when it is asked anonymously.
func (s *statusReport) secretFor(config registry.Config, tag name.Tag) string {
	if !config.Credentials.Has(tag.Repository) {
		return ""
	}
	return s.pushSecret
}

// get fetches the manifest at the tag.
func get(ctx context.Context, repository *registry.Repository, tag name.Tag) (v1.Image, v1.Hash, error) {
	descriptor, err := repository.Fetch(ctx, tag)
	if registry.IsNotFound(err) {
		return nil, v1.Hash{}, notVerified("the registry has nothing at %s after the push: build again", tag).Because(err)
	}
	if err != nil {
		return nil, v1.Hash{}, ofRegistry(err)
	}
	if !descriptor.MediaType.IsImage() {
		return nil, v1.Hash{}, notVerified("what the registry has at %s is not an image but %s", tag, descriptor.MediaType)
	}
	image, err := descriptor.Image()
	if err != nil {
		return nil, v1.Hash{}, ofRegistry(repository.Explain(err))
	}
	return image, descriptor.Digest, nil
}

// verify checks an image against what the earlier steps have left.
func (s *statusReport) verify(ctx context.Context, repository *registry.Repository, image v1.Image, soFar report.Report, want expected) (*report.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, ofRegistry(repository.Explain(err))
	}
	if err := s.verifyConfig(config); err != nil {
		return nil, err
	}
	if err := verifyLayers(config.RootFS.DiffIDs, want.Layers, *soFar.Source); err != nil {
		return nil, err
	}
	// mount-check has compared the list of what it found.
	if want.Digest == "" {
		if err := verifyManifest(repository, image, want.ManifestSHA256); err != nil {
			return nil, err
		}
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, ofRegistry(repository.Explain(err))
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, brokenImage("the image's manifest has %d layers and its config %d", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	if err := verifyBlobs(ctx, repository, manifest.Layers); err != nil {
		return nil, err
	}
	found := &report.Image{Layers: len(manifest.Layers)}
	for _, blob := range manifest.Layers {
		found.Bytes += blob.Size
	}
	return found, nil
}

// verifyConfig checks what containers and later builds read in the config.
func (s *statusReport) verifyConfig(config *v1.ConfigFile) error {
	want := v1alpha1.ModelPathEnv + "=" + v1alpha1.ModelPath
	if !slices.Contains(config.Config.Env, want) {
		return brokenImage("the image in the registry does not set %s", want)
	}
	if got := config.Config.Labels[v1alpha1.LabelModelVersionUID]; got != s.modelVersionUID {
		return notVerified("the image in the registry belongs to another version, %q: choose another imageTag, or delete the tag if nobody needs it", got)
	}
	return nil
}

// verifyLayers checks that the image has the layers that were read back while
// they were built, and that together they hold every file.
func verifyLayers(inImage []v1.Hash, built []report.BuiltLayer, source report.Source) error {
	var files, bytes int64
	for _, l := range built {
		if !slices.ContainsFunc(inImage, func(id v1.Hash) bool { return id.String() == l.DiffID }) {
			return brokenImage("the image in the registry lacks the layer %s, which holds %d files", l.DiffID, l.Files)
		}
		files += l.Files
		bytes += l.Bytes
	}
	if files != source.Files || bytes != source.Bytes {
		return brokenImage("the image's layers hold %d files of %d bytes, and the model %d files of %d bytes", files, bytes, source.Files, source.Bytes)
	}
	return nil
}

// verifyManifest checks that the list of files in the image is the one that was
// written, of the files that were copied.
func verifyManifest(repository *registry.Repository, image v1.Image, want string) error {
	digest, found, err := manifestDigest(image)
	if err != nil {
		return ofContent(repository, err)
	}
	if !found {
		return brokenImage("the image in the registry lacks the list of the model's files")
	}
	if digest != want {
		return brokenImage("the image in the registry lists other files than were packaged")
	}
	return nil
}

// verifyBlobs checks that the registry has each layer in its full length.
func verifyBlobs(ctx context.Context, repository *registry.Repository, blobs []v1.Descriptor) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blobsAtATime)
	for _, blob := range blobs {
		if len(blob.URLs) > 0 {
			// A layer that lies elsewhere, as those of some base images.
			continue
		}
		group.Go(func() error {
			size, err := repository.Stat(ctx, blob.Digest)
			if registry.IsNotFound(err) {
				return brokenImage("the registry lacks the layer %s of the image", blob.Digest).Because(err)
			}
			if err != nil {
				return ofRegistry(err)
			}
			if size != blob.Size {
				return brokenImage("the registry has %d bytes of the layer %s, and it should be %d", size, blob.Digest, blob.Size)
			}
			return nil
		})
	}
	return group.Wait()
}

func notVerified(format string, args ...any) *failure.Error {
	return failure.New(v1alpha1.ReasonVerificationFailed, format, args...)
}

// brokenImage is a failure that a retry would find again: nothing at a tag is
// overwritten, not even what a build of ours has broken.
func brokenImage(format string, args ...any) *failure.Error {
	return notVerified(format+": delete the tag in the registry, then build again", args...)
}
