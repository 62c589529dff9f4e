package proof

import (
	"context"
	"io"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/step/stream"
)

// changedFiles describes how the model's files differ from the manifest of an image
// that is known to be this ModelVersion's, or returns "". It reads the files only if
// their names, sizes and modes are the same, and a layer only if its files have no
// identities, or others than the image records.
func (i Image) changedFiles(ctx context.Context, s Source) (string, error) {
	difference, _, _, err := i.compareFiles(ctx, s, i.hasIdentities)
	return difference, err
}

// hasIdentities reports whether an image records that a layer of the model has files of
// the same identities.
func (i Image) hasIdentities(number int, entries []layer.Entry) bool {
	recorded := i.manifest.Layers[i.baseLayers()+number].Annotations[modelimage.AnnotationStatDigest]
	return layer.HasIdentities(entries) && recorded == layer.StatDigest(entries)
}

// isNever is for an image that proves nothing by what it records.
func isNever(int, []layer.Entry) bool { return false }

// compareFiles describes how the model's files differ from an image's manifest. If
// they do not, it returns the plan with the image's partitioning into layers, and
// the SHA-256, by path, of the files that it has read. A layer of a streamed image that
// isKnown reports as unchanged is not read.
func (i Image) compareFiles(ctx context.Context, s Source, isKnown func(number int, entries []layer.Entry) bool) (difference string, plan layer.Plan, digests map[string]string, err error) {
	if without := i.Files.FileWithoutDigest(); without != "" {
		return "", plan, nil, modelimage.Invalid("the manifest of its files has no SHA-256 of %q", without)
	}
	if difference = layer.Difference(i.Files, layer.NewManifest(s.Model, nil)); difference != "" {
		return difference, plan, nil, nil
	}
	plan, known := i.Files.Repartition(s.Model)
	if !known {
		return "", plan, nil, modelimage.Invalid("the manifest of its files does not assign every file to a layer")
	}
	if i.Files.Streamed {
		difference, digests, err = stream.ChangedLayer(ctx, s.Files, plan, i.Files.Layers, func(number int) bool { return isKnown(number, plan.Layers[number]) })
		return difference, plan, digests, err
	}
	if digests, err = sumFiles(ctx, s); err != nil {
		return "", plan, nil, err
	}
	return layer.Difference(i.Files, layer.NewManifest(plan, digests)), plan, digests, nil
}

// sumFiles returns the SHA-256 of the model's files by path.
func sumFiles(ctx context.Context, s Source) (digests map[string]string, err error) {
	digests = map[string]string{}
	for _, e := range s.Model.Entries() {
		if e.Type != layer.File {
			continue
		}
		if digests[e.Path], err = source.Read(ctx, s.Files, e, io.Discard); err != nil {
			return nil, err
		}
	}
	return digests, nil
}
