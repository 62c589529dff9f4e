package step

import (
	"context"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/step/stream"
)

// earlier is an image that may have many of the files.
type earlier struct {
	// files are those that it holds.
	files layer.Held
	// layers are its layers in the registry, by what they are unpacked, and
	// byStat are those of them that say what their files' times were, by that.
	layers, byStat map[string]heldLayer
}

// heldLayer is a layer of an earlier image, and its digest as it is unpacked.
type heldLayer struct {
	v1.Descriptor
	unpacked v1.Hash
}

// earlier is the image that was named as the one before. That it cannot be had
// makes the build slower and not wrong.
func (s *streaming) earlier(ctx context.Context, work order, out io.Writer) earlier {
	if s.previousImage == "" {
		return earlier{}
	}
	before, err := s.readPrevious(ctx, work)
	if err != nil {
		say(out, "the files of %s are not known, so that all are sent: %v", s.previousImage, err)
		return earlier{}
	}
	return before
}

func (s *streaming) readPrevious(ctx context.Context, work order) (earlier, error) {
	ref, err := work.config.Reference(s.previousImage)
	if err != nil {
		return earlier{}, err
	}
	repository, err := work.config.Open(ctx, ref.Context(), registry.Pull)
	if err != nil {
		return earlier{}, err
	}
	descriptor, err := repository.Get(ctx, ref)
	if err != nil {
		return earlier{}, err
	}
	image, err := repository.Image(descriptor)
	if err != nil {
		return earlier{}, err
	}
	held, _, err := readManifest(image)
	if err != nil {
		return earlier{}, err
	}
	before := earlier{files: held.Held()}
	before.layers, before.byStat, err = layersOf(image)
	return before, err
}

// layersOf are an image's layers, as earlier has them.
func layersOf(image v1.Image) (byContent, byStat map[string]heldLayer, err error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, nil, err
	}
	byContent, byStat = map[string]heldLayer{}, map[string]heldLayer{}
	for i, unpacked := range config.RootFS.DiffIDs {
		if i >= len(manifest.Layers) {
			break
		}
		held := heldLayer{manifest.Layers[i], unpacked}
		byContent[unpacked.String()] = held
		if stat := held.Annotations[stream.AnnotationStat]; stat != "" {
			byStat[stat] = held
		}
	}
	return byContent, byStat, nil
}

// keepsTimes says whether any layer of a plan has the times that its files had in
// the earlier image. Where none has, the files are copies with times of their own.
func (e earlier) keepsTimes(plan layer.Plan) bool {
	return slices.ContainsFunc(plan.Layers, func(entries []layer.Entry) bool {
		_, known := e.byStat[layer.StatDigest(entries)]
		return known && filesOf(entries) > 0
	})
}

// held is the layer of the earlier image that an archive would be again, if it
// has one. Where times are kept and trusted, they say so, and no archive is read.
func (s *sending) held(ctx context.Context, archive source.Archive, stat string, entries []layer.Entry) (heldLayer, bool, error) {
	if s.timesKept {
		held, known := s.earlier.byStat[stat]
		return held, known, nil
	}
	if len(s.earlier.files) == 0 || !s.earlier.files.Has(entries) {
		return heldLayer{}, false, nil
	}
	unpacked, err := diffID(ctx, archive, io.Discard)
	if err != nil {
		return heldLayer{}, false, err
	}
	held, known := s.earlier.layers[unpacked]
	return held, known, nil
}

// isThere says whether the registry has a layer of the earlier image where this
// one goes, or has put it there now.
func (s *sending) isThere(ctx context.Context, held v1.Descriptor) (bool, error) {
	length, err := s.repository.BlobSize(ctx, held.Digest)
	if registry.IsNotFound(err) {
		return slices.ContainsFunc(s.from, func(from name.Repository) bool { return s.uploader.Mount(ctx, held.Digest, from) }), nil
	}
	if err != nil {
		return false, ofRegistry(err)
	}
	return length == held.Size, nil
}
