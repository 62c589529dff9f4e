package stream

import (
	"context"
	"slices"

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
	// modification times of their files.
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

func readPrevious(ctx context.Context, in Input) (previousImage, error) {
	ref, err := in.Registry.Reference(in.PreviousImage)
	if err != nil {
		return previousImage{}, err
	}
	image, _, err := modelimage.Pull(ctx, in.Registry, ref)
	if err != nil {
		return previousImage{}, err
	}
	manifest, _, err := modelimage.ReadManifest(image)
	if err != nil {
		return previousImage{}, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return previousImage{}, err
	}
	imageManifest, err := image.Manifest()
	if err != nil {
		return previousImage{}, err
	}
	previous := previousImage{files: manifest.Index(), byDiffID: map[string]previousLayer{}, byStatDigest: map[string]previousLayer{}}
	diffIDs, layers := config.RootFS.DiffIDs, imageManifest.Layers
	for i := range min(len(diffIDs), len(layers)) {
		l := previousLayer{layers[i], diffIDs[i]}
		previous.byDiffID[l.diffID.String()] = l
		if digest := l.Annotations[annotationStatDigest]; digest != "" {
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
// an archive, if there is one. It reads the archive unless modification times
// show it.
func (s *sender) findInPrevious(ctx context.Context, archive source.Archive, statDigest string, entries []layer.Entry) (previousLayer, bool, error) {
	if s.useModTimes {
		l, known := s.previous.byStatDigest[statDigest]
		return l, known, nil
	}
	if len(s.previous.files) == 0 || !s.previous.files.Has(entries) {
		return previousLayer{}, false, nil
	}
	diffID, err := diffIDOf(ctx, archive)
	if err != nil {
		return previousLayer{}, false, err
	}
	l, known := s.previous.byDiffID[diffID]
	return l, known, nil
}
