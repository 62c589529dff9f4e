package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

// maxConcurrentBlobs is how many layers are looked up at the same time.
const maxConcurrentBlobs = 8

func (k *kiln) verify() *cobra.Command {
	v := &verification{keyring: &keyring{}}
	cmd := &cobra.Command{
		Use:   "verify (VERSION | pod/POD)",
		Short: "Check the image of a ModelVersion or a pod's model: digest, signature, layers and files",
		Long: `Check the image of a ModelVersion: the signature in its status verifies as the webhook does
it, its tag has the digest in the status, and the registry has every layer in its full size.
With --deep, every file is read and compared with the list in the image. Of a pod, also check
that it mounts the image of the ModelVersion that it is said to serve.

The public key is that of --key or, with permission to read it, that of the Secret in the
namespace which has signed. Without one, the signature is not verified; with --key, an image
that is not signed is a failure. The credentials for the registry are those of docker login.`,
		Example: `  # A ModelVersion, every file of it
  kubectl kiln verify resnet-3 --deep
  # What a pod serves, with the platform's key
  kubectl kiln verify pod/resnet-7c9f5b8d4-x2x1v --key cosign.pub`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeTargets(&v1alpha1.ModelVersionList{}, &corev1.PodList{}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&v.deep, "deep", false, "read every layer, and compare every file")
	v.define(flags)
	v.access.define(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := k.connect()
		if err != nil {
			return err
		}
		if err := v.open(c); err != nil {
			return err
		}
		object, err := c.find(cmd.Context(), args[0], &v1alpha1.ModelVersion{}, &corev1.Pod{})
		if err != nil {
			return err
		}
		failed, err := v.check(cmd.Context(), k.Out, object)
		if err == nil && failed > 0 {
			err = fmt.Errorf("%s does not verify: %d of the checks failed", args[0], failed)
		}
		return err
	}
	return cmd
}

// verification is what verify checks with.
type verification struct {
	*keyring
	access registryAccess
	deep   bool
}

// check prints the results for a ModelVersion or a pod, and returns how many of them are
// failures.
func (v *verification) check(ctx context.Context, to io.Writer, object client.Object) (failed int, err error) {
	mv, isVersion := object.(*v1alpha1.ModelVersion)
	if pod, isPod := object.(*corev1.Pod); !isVersion && isPod {
		if mv, err = v.servedVersion(ctx, pod); err != nil {
			return 0, err
		}
		if mv == nil {
			return 0, fmt.Errorf("the ModelVersion that pod %s serves was deleted: nothing says what its image has to be", pod.Name)
		}
		failed += printResults(to, []result{servedResult(pod, mv)})
	}
	// What needs no registry is known also if that cannot be reached.
	if mv.Status.Digest != "" {
		failed += printResults(to, []result{v.signatureOf(ctx, mv).result(mv, len(v.files) > 0)})
	}
	stored, err := v.access.open(ctx, mv)
	if err != nil {
		return failed, err
	}
	results := []result{v.access.tagResult(ctx, mv), blobsResult(ctx, stored)}
	if v.deep {
		results = append(results, filesResult(stored))
	}
	return failed + printResults(to, results), nil
}

// servedResult checks that a pod mounts the image of its ModelVersion.
func servedResult(pod *corev1.Pod, mv *v1alpha1.ModelVersion) result {
	if problem := servedProblem(pod, mv); problem != "" {
		return result{bad, problem, "create the pod again, so that the webhook gives it the model"}
	}
	return result{verdict: good, what: fmt.Sprintf("pod %s mounts the image of ModelVersion %s: %s", pod.Name, mv.Name, mv.Status.Digest)}
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
