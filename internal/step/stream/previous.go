package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// previousImage is an image that may hold many of the files.
type previousImage struct {
	// files are the files of its model.
	files layer.Index
	// byDiffID are its layers. byStatDigest are those that record the
	// identities or the modification times of their files.
	byDiffID, byStatDigest map[string]previousLayer
}

// previousLayer is a layer of a previous image.
type previousLayer struct {
	v1.Descriptor
	diffID v1.Hash
}

// findPrevious returns the previous image. Without it, the build is slower but
// not wrong, so that an image that cannot be read is logged and ignored.
func findPrevious(ctx context.Context, in Input) previousImage {
	if in.PreviousImage == "" {
		return previousImage{}
	}
	previous, err := readPrevious(ctx, in)
	if err != nil {
		console.Logf(in.Log, "sending all files, because the previous image %s cannot be read: %v", in.PreviousImage, err)
		return previousImage{}
	}
	return previous
}

// readPrevious reads an image by its digest. What a tag references can change, and
// only the digest of an image identifies what was verified when it was built: the
// registry's content is verified against it.
func readPrevious(ctx context.Context, in Input) (previousImage, error) {
	ref, err := in.Registry.Reference(in.PreviousImage)
	if err != nil {
		return previousImage{}, err
	}
	if _, byDigest := ref.(name.Digest); !byDigest {
		return previousImage{}, errors.New("it is not a reference by digest")
	}
	variants, err := modelimage.PullModel(ctx, in.Registry, ref)
	if err != nil {
		return previousImage{}, err
	}
	// The layers of the model are the same for every platform.
	return newPrevious(variants[0].Image, in.Model.Dir)
}

// newPrevious returns the layers of an image that hold its model in modelDir, according
// to the manifest of the model's files. Others, such as those of its base image, are not
// reused.
func newPrevious(image v1.Image, modelDir string) (previousImage, error) {
	manifest, err := modelimage.ReadManifest(image)
	if err != nil {
		return previousImage{}, err
	}
	if manifest.Dir != modelDir {
		// The digests of modification times do not include the directory.
		return previousImage{}, errors.New("it has the model in another directory")
	}
	config, err := image.ConfigFile()
	if err != nil {
		return previousImage{}, err
	}
	imageManifest, err := image.Manifest()
	if err != nil {
		return previousImage{}, err
	}
	diffIDs, layers := config.RootFS.DiffIDs, imageManifest.Layers
	if len(diffIDs) != len(layers) {
		return previousImage{}, fmt.Errorf("it has %d layers in its manifest and %d in its config", len(layers), len(diffIDs))
	}
	holdsModel := map[string]bool{}
	for _, built := range manifest.Layers {
		holdsModel[built.DiffID] = true
	}
	previous := previousImage{files: manifest.Index(), byDiffID: map[string]previousLayer{}, byStatDigest: map[string]previousLayer{}}
	for i, diffID := range diffIDs {
		if !holdsModel[diffID.String()] {
			continue
		}
		l := previousLayer{layers[i], diffID}
		previous.byDiffID[diffID.String()] = l
		if digest := l.Annotations[modelimage.AnnotationStatDigest]; digest != "" {
			previous.byStatDigest[digest] = l
		}
	}
	return previous, nil
}

// hasModTimesOf reports whether the image records the modification times of the
// files of any layer of a plan. If it does not, the files are copies with new
// times.
func (p previousImage) hasModTimesOf(plan layer.Plan) bool {
	return slices.ContainsFunc(plan.Layers, func(entries []layer.Entry) bool {
		_, known := p.byStatDigest[layer.StatDigest(entries)]
		files, _ := layer.Count(entries)
		return known && files > 0
	})
}

// findInPrevious returns the layer of the previous image that has the content of
// an archive, if there is one. It reads the archive, and returns its hash, unless the
// identities of the files or their modification times show it.
func (s *sender) findInPrevious(ctx context.Context, archive source.Archive, statDigest string, entries []layer.Entry) (l previousLayer, known bool, sums *layer.ArchiveHash, err error) {
	if s.useModTimes || layer.HasIdentities(entries) {
		l, known = s.previous.byStatDigest[statDigest]
		return l, known && s.previous.files.Has(entries), nil, nil
	}
	if len(s.previous.files) == 0 || !s.previous.files.Has(entries) {
		return previousLayer{}, false, nil, nil
	}
	if sums, err = hashOf(ctx, archive); err != nil {
		return previousLayer{}, false, nil, err
	}
	l, known = s.previous.byDiffID[sums.DiffID()]
	return l, known, sums, nil
}

// digestsOfReused returns the SHA-256 of the files of a layer that is reused: those that
// were read to find it, sums, or those that are known of them. It reads the files if
// neither has all of them.
func (s *sender) digestsOfReused(ctx context.Context, archive source.Archive, entries []layer.Entry, sums *layer.ArchiveHash) (map[string]string, error) {
	if sums == nil {
		if known, complete := layer.KnownDigests(entries, s.previous.files); complete {
			return known, nil
		}
		var err error
		if sums, err = hashOf(ctx, archive); err != nil {
			return nil, err
		}
	}
	return sums.Files(), nil
}
