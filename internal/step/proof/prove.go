package proof

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// maxConcurrentLayers is how many layers are read at the same time.
const maxConcurrentLayers = 3

// prove compares everything in an image with what a build would push on a base image.
// It describes how the model's files differ, if only they do. For any other difference,
// the error is a *modelimage.InvalidError.
//
// The layers of the engine Stream are computed from the files and not downloaded,
// unless they are compressed. Those of Kaniko hold times, and are downloaded and
// compared file by file.
func (i Image) prove(ctx context.Context, s Source, base Base) (changed string, err error) {
	if err := i.checkBase(s, base); err != nil {
		return "", err
	}
	changed, plan, digests, err := i.compareFiles(ctx, s, isNever)
	if err != nil || changed != "" {
		return changed, err
	}
	if !i.Files.Equal(i.expectedFiles(plan, digests)) {
		return "", modelimage.Invalid("the manifest of its files is not that of its layers")
	}
	if err := i.checkBlobs(plan); err != nil {
		return "", err
	}
	if s.HasModel && !i.Files.Streamed {
		// Kaniko's layers do not hide what the base image has there.
		return "", modelimage.Invalid("its base image has files at /%s", plan.ModelDir())
	}
	return "", i.checkContent(ctx, plan, digests, layer.Links(plan.ModelDir(), s.HasKServeDir))
}

// checkBase checks that an image has the layers of the base image below the
// model's, and a config that an engine derived from the base image's.
func (i Image) checkBase(s Source, base Base) error {
	if err := i.checkAnnotations(); err != nil {
		return err
	}
	config, blobs := &v1.ConfigFile{OS: base.Platform.OS, Architecture: base.Platform.Architecture}, []v1.Descriptor{}
	if base.Image != nil {
		manifest, err := base.Image.Manifest()
		if err != nil {
			return err
		}
		if config, err = base.Image.ConfigFile(); err != nil {
			return err
		}
		blobs = manifest.Layers
	}
	sameBlob := func(a, b v1.Descriptor) bool { return a.Digest == b.Digest }
	if !slices.Equal(i.BaseDiffIDs(), modelimage.DiffIDs(config)) || !slices.EqualFunc(i.manifest.Layers[:i.baseLayers()], blobs, sameBlob) {
		return modelimage.Invalid("below the model's layers, it has other layers than the base image")
	}
	if difference := configDifference(i.config, config, base.Labels, s.FreeLabels); difference != "" {
		return modelimage.Invalid("%s", difference)
	}
	return nil
}

// checkAnnotations checks that the manifest says nothing about the image beside what
// builds say.
func (i Image) checkAnnotations() error {
	if i.manifest.Subject != nil {
		return modelimage.Invalid("it claims to belong to another image")
	}
	for key, value := range i.manifest.Annotations {
		if key != modelimage.LabelCreated || value != i.config.Config.Labels[key] {
			return modelimage.Invalid("it has the annotation %q", key)
		}
	}
	return nil
}

// expectedFiles returns the manifest that an engine writes into an image of these
// layers. Stream may write none of the digests.
func (i Image) expectedFiles(plan layer.Plan, digests map[string]string) layer.Manifest {
	if i.Files.Streamed && !i.Files.HasDigests() {
		digests = nil
	}
	manifest := layer.NewManifest(plan, digests)
	manifest.Streamed = i.Files.Streamed
	for number, entries := range plan.Layers {
		files, bytes := layer.Count(entries)
		manifest.Layers = append(manifest.Layers, layer.BuiltLayer{DiffID: i.Files.Layers[number].DiffID, Files: files, Bytes: bytes})
	}
	return manifest
}

// checkBlobs checks how an image refers to the layers above the base image.
func (i Image) checkBlobs(plan layer.Plan) error {
	for number, blob := range i.modelBlobs() {
		if len(blob.URLs) > 0 || !blob.MediaType.IsLayer() || !blob.MediaType.IsDistributable() {
			return modelimage.Invalid("a layer is not stored as such in the registry: %s", blob.Digest)
		}
		stat, found := blob.Annotations[modelimage.AnnotationStatDigest]
		if found && (number >= len(plan.Layers) || stat != layer.StatDigest(plan.Layers[number])) {
			// A later build may rely on it instead of reading the files.
			return modelimage.Invalid("it records other modification times than those of the files")
		}
	}
	return nil
}

// checkContent reads the layers above the base image, as far as their digests are
// not proof enough, and checks what they hold. links are the links to the model that
// a build writes.
func (i Image) checkContent(ctx context.Context, plan layer.Plan, digests map[string]string, links []layer.Entry) error {
	layers, err := i.image.Layers()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentLayers)
	first, last := i.baseLayers(), len(layers)-1
	group.Go(func() error {
		return checkManifestLayer(ctx, layers[last], i.diffIDs[last], links)
	})
	for number := range plan.Layers {
		at := first + number
		if i.Files.Streamed && i.manifest.Layers[at].Digest.String() == i.diffIDs[at] {
			continue
		}
		group.Go(func() error {
			if i.Files.Streamed {
				return checkArchive(ctx, layers[at], i.diffIDs[at], plan, number)
			}
			return checkModelLayer(ctx, layers[at], i.diffIDs[at], plan, number, digests)
		})
	}
	return group.Wait()
}
