package command

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

// maxConcurrentBlobs is how many layers are looked up at the same time.
const maxConcurrentBlobs = 8

func (k *kiln) verify() *cobra.Command {
	access := &registryAccess{}
	var deep bool
	cmd := &cobra.Command{
		Use:   "verify VERSION",
		Short: "Check that the registry has the image of a ModelVersion, complete and unchanged",
		Long: `Check that the registry has the image of a ModelVersion, complete and unchanged: its tag
has the digest in the status, and every layer exists in its full size. With --deep, every
file is read and compared with the list in the image.

The credentials are those of docker login.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	flags := cmd.Flags()
	flags.BoolVar(&deep, "deep", false, "read every layer, and compare every file")
	access.define(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, mv, err := k.connectTo(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		stored, err := access.open(cmd.Context(), mv)
		if err != nil {
			return err
		}
		results := []result{access.tagResult(cmd.Context(), mv), blobsResult(cmd.Context(), stored)}
		if deep {
			results = append(results, filesResult(stored))
		}
		if failed := printResults(k.Out, results); failed > 0 {
			return fmt.Errorf("the image of %s is not what was built", mv.Name)
		}
		return nil
	}
	return cmd
}

// tagResult checks that the tag of a ModelVersion has its image.
func (a registryAccess) tagResult(ctx context.Context, mv *v1alpha1.ModelVersion) result {
	image := a.outside(mv.Status.Image)
	_, _, descriptor, err := a.fetch(ctx, image)
	if err != nil {
		return result{bad, "the tag of " + image + " cannot be read", quote(err)}
	}
	if got := descriptor.Digest.String(); got != mv.Status.Digest {
		return result{bad, fmt.Sprintf("%s has the digest %s instead of %s", image, got, mv.Status.Digest), "the tag was moved; pods that serve the ModelVersion refer to the digest, and are not affected"}
	}
	return result{verdict: good, what: image + " has the digest " + mv.Status.Digest}
}

// blobsResult checks that the registry has every layer in its full size.
func blobsResult(ctx context.Context, stored *storedImage) result {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentBlobs)
	layers, bytes, seen := 0, int64(0), map[v1.Hash]bool{}
	for _, variant := range stored.variants {
		manifest, err := variant.Image.Manifest()
		if err != nil {
			return result{verdict: bad, what: quote(stored.explain(err))}
		}
		for _, blob := range manifest.Layers {
			if seen[blob.Digest] || len(blob.URLs) > 0 {
				continue
			}
			seen[blob.Digest] = true
			layers, bytes = layers+1, bytes+blob.Size
			group.Go(func() error { return checkBlob(ctx, stored.repository, blob) })
		}
	}
	if err := group.Wait(); err != nil {
		return result{bad, quote(err), "have it built again: kubectl kiln retry"}
	}
	return result{verdict: good, what: fmt.Sprintf("the registry has all %s, %s, for %s", console.Count(layers, "layer"), console.Size(bytes), console.Count(len(stored.variants), "platform"))}
}

func checkBlob(ctx context.Context, repository *registry.Repository, blob v1.Descriptor) error {
	size, err := repository.Stat(ctx, blob.Digest)
	switch {
	case registry.IsNotFound(err):
		return fmt.Errorf("the registry lacks the layer %s", blob.Digest)
	case err != nil:
		return err
	case size != blob.Size && size != registry.UnknownSize:
		return fmt.Errorf("the registry has %d bytes of the layer %s, whose size is %d bytes", size, blob.Digest, blob.Size)
	default:
		return nil
	}
}

// filesResult reads every file and compares it with the list in the image.
func filesResult(stored *storedImage) result {
	sums, err := stored.sums(stored.allLayers())
	if err != nil {
		return result{verdict: bad, what: quote(err)}
	}
	if err := compareSums(stored.manifest, sums); err != nil {
		return result{verdict: bad, what: quote(err)}
	}
	files, bytes := int64(0), int64(0)
	for _, e := range stored.manifest.Entries {
		if e.Type == layer.File {
			files, bytes = files+1, bytes+e.Size
		}
	}
	return result{verdict: good, what: fmt.Sprintf("all %s, %s, are as in the list of the image", console.Count(files, "file"), console.Size(bytes))}
}

// compareSums compares the digests of files that were read with a list. The digest of a
// layer, which was verified, identifies files for which the list has none.
func compareSums(manifest layer.Manifest, sums map[string]string) error {
	listed := 0
	for _, e := range manifest.Entries {
		if e.Type != layer.File {
			continue
		}
		listed++
		got, found := sums[e.Path]
		switch {
		case !found:
			return fmt.Errorf("the image lacks the file %q", e.Path)
		case e.SHA256 != "" && e.SHA256 != got:
			return fmt.Errorf("the file %q has another content than when it was packaged", e.Path)
		}
	}
	if listed != len(sums) {
		return errors.New("the image has files that its list does not have")
	}
	return nil
}
