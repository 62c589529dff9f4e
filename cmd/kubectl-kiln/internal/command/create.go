package command

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// creation is what a user asks of create.
type creation struct {
	model, image, createdBy               string
	claim, local, nfs, s3, hub, from      string
	engine, base, secret, dryRun, trainer string
	waits                                 bool
	access                                registryAccess
}

func (k *kiln) create() *cobra.Command {
	n := &creation{}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a ModelVersion, which builds an image",
		Example: `  # Package a directory of a claim, and wait for the image
  kubectl kiln create resnet-3 --model resnet --image registry.example.com/models/resnet --claim training/resnet/3 --wait
  # Make a version of an image that kubectl kiln package has pushed
  kubectl kiln create resnet-4 --model resnet --from-image registry.example.com/models/resnet:v4
  # Write the manifest of one that packages a model of the Hugging Face hub
  kubectl kiln create mistral-1 --model mistral --image models/mistral --hugging-face mistralai/Mistral-7B-v0.1@main --dry-run=client -o yaml`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	n.define(cmd)
	out := newOutput(cmd, "created")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		printer, err := n.printer(out)
		if err != nil {
			return err
		}
		if err := n.resolveImage(cmd.Context()); err != nil {
			return err
		}
		mv, err := n.version(args[0])
		if err != nil {
			return err
		}
		c, err := k.connect()
		if err != nil {
			return err
		}
		mv.Namespace = c.namespace
		if err := c.createVersion(cmd.Context(), mv, n.dryRun); err != nil {
			return err
		}
		if err := printer.PrintObj(mv, k.Out); err != nil || !n.waits || n.dryRun != "none" {
			return err
		}
		return k.waitFor(cmd.Context(), c, mv.Name, isCurrentOf(mv), out.results(k))
	}
	return cmd
}

func (n *creation) define(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&n.model, "model", "", "the `name` of the Model; required")
	flags.StringVar(&n.image, "image", "", "the `REPOSITORY[:TAG]` to push to; required without --from-image; the default tag is automatic")
	flags.StringVar(&n.claim, "claim", "", "the files are in a PersistentVolumeClaim: `CLAIM[/DIRECTORY]`")
	flags.StringVar(&n.local, "local", "", "the files are on the disk of a node: `NODE:/DIRECTORY`")
	flags.StringVar(&n.nfs, "nfs", "", "the files are on an NFS server: `SERVER:/DIRECTORY`")
	flags.StringVar(&n.s3, "s3", "", "the files are in a bucket: `BUCKET/PREFIX`")
	flags.StringVar(&n.hub, "hugging-face", "", "the files are on the Hugging Face hub: `ORGANIZATION/REPOSITORY[@REVISION]`")
	flags.StringVar(&n.from, "from-image", "", "the model is in an image already, which kubectl kiln package or a pipeline has pushed: `REPOSITORY:TAG[@DIGEST]`; the digest is looked up by default")
	flags.StringVar(&n.trainer, "trained-by", "", "the Job of the namespace that writes the files: `NAME`; the build waits for it")
	flags.StringVar(&n.engine, "engine", "", "the engine: Kaniko or Stream; the operator's configuration has the default")
	flags.StringVar(&n.base, "base-image", "", "the `image` to which the files are added, or scratch")
	flags.StringVar(&n.secret, "push-secret", "", "the `name` of the push Secret; regcred by default, if it exists")
	flags.StringVar(&n.createdBy, "created-by", "", "the `user` or job that made the model")
	flags.StringVar(&n.dryRun, "dry-run", "none", "none, client (send nothing) or server (store nothing)")
	flags.BoolVar(&n.waits, "wait", false, "wait until the image is built, as kubectl kiln wait does")
	n.access.defineAny(flags)
	cmd.MarkFlagsMutuallyExclusive("claim", "local", "nfs", "s3", "hugging-face", "from-image")
	cmd.MarkFlagsMutuallyExclusive("image", "from-image")
}

// printer returns the printer for what is created.
func (n *creation) printer(out output) (printers.ResourcePrinter, error) {
	switch n.dryRun {
	case "none":
	case "client", "server":
		if err := out.flags.Complete("%s (" + n.dryRun + " dry run)"); err != nil {
			return nil, err
		}
	default:
		return nil, wrongUsage("--dry-run is none, client or server, not %q", n.dryRun)
	}
	return out.printer()
}

// isCurrentOf returns a function that reports whether the operator has observed a
// ModelVersion that was just created.
func isCurrentOf(created *v1alpha1.ModelVersion) func(*v1alpha1.ModelVersion) bool {
	return func(mv *v1alpha1.ModelVersion) bool { return mv.UID == created.UID && isCurrent(mv) }
}

// resolveImage sets the image and, unless the user has named it, the digest of one that
// exists.
func (n *creation) resolveImage(ctx context.Context) error {
	if n.from == "" {
		return nil
	}
	image, digest, found := strings.Cut(n.from, "@")
	if _, tag := splitImage(image); tag == "" {
		return wrongUsage("--from-image is REPOSITORY:TAG[@DIGEST], not %q", n.from)
	}
	n.image = image
	if found && digest != "" {
		return nil
	}
	_, _, descriptor, err := n.access.fetch(ctx, image)
	if err != nil {
		return err
	}
	n.from = image + "@" + descriptor.Digest.String()
	return nil
}

func (c *cluster) createVersion(ctx context.Context, mv *v1alpha1.ModelVersion, dryRun string) error {
	switch dryRun {
	case "client":
		return nil
	case "server":
		return c.explain(c.Create(ctx, mv, client.DryRunAll), "ModelVersion", mv.Name)
	default:
		return c.explain(c.Create(ctx, mv), "ModelVersion", mv.Name)
	}
}

// version returns the ModelVersion that the flags describe. The API server validates it.
func (n *creation) version(name string) (*v1alpha1.ModelVersion, error) {
	if n.model == "" || n.image == "" {
		return nil, wrongUsage("--model and --image are required: name the Model, and the repository to push to; or --from-image")
	}
	if strings.Contains(n.image, "@") {
		return nil, wrongUsage("--image is REPOSITORY[:TAG], not %q: the build determines the digest. To use an image that exists, name it with --from-image", n.image)
	}
	storage, err := n.storage()
	if err != nil {
		return nil, err
	}
	repository, tag := splitImage(n.image)
	mv := &v1alpha1.ModelVersion{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ModelVersion"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.ModelVersionSpec{ModelName: n.model, ImageRepo: repository, ImageTag: tag, CreatedBy: n.createdBy, Storage: storage},
	}
	if n.trainer != "" {
		mv.Spec.TrainedBy = &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: n.trainer}
	}
	if build := (v1alpha1.Build{Engine: v1alpha1.BuildEngine(n.engine), BaseImage: n.base, PushSecretName: n.secret}); n.engine+n.base+n.secret != "" {
		mv.Spec.Build = &build
	}
	return mv, nil
}

// storage returns where the files are.
func (n *creation) storage() (v1alpha1.Storage, error) {
	switch {
	case n.from != "":
		_, digest, _ := strings.Cut(n.from, "@")
		return v1alpha1.Storage{Image: &v1alpha1.Image{Digest: digest}}, nil
	case n.claim != "":
		claim, dir, _ := strings.Cut(n.claim, "/")
		return v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: claim, SubPath: dir}}, nil
	case n.local != "":
		node, dir, err := cutPath("local", "NODE", n.local)
		return v1alpha1.Storage{LocalStorage: &v1alpha1.LocalStorage{NodeName: node, Path: dir}}, err
	case n.nfs != "":
		server, dir, err := cutPath("nfs", "SERVER", n.nfs)
		return v1alpha1.Storage{NFS: &v1alpha1.NFS{Server: server, Path: dir}}, err
	case n.s3 != "":
		bucket, prefix, found := strings.Cut(n.s3, "/")
		if !found || prefix == "" {
			return v1alpha1.Storage{}, wrongUsage("--s3 is BUCKET/PREFIX, not %q", n.s3)
		}
		return v1alpha1.Storage{S3: &v1alpha1.S3{Bucket: bucket, Prefix: prefix}}, nil
	case n.hub != "":
		repo, revision, _ := strings.Cut(n.hub, "@")
		return v1alpha1.Storage{HuggingFace: &v1alpha1.HuggingFace{Repo: repo, Revision: revision}}, nil
	default:
		return v1alpha1.Storage{}, wrongUsage("say where the files are, with one of --claim, --local, --nfs, --s3, --hugging-face and --from-image")
	}
}

// cutPath splits a value of the form HOST:/DIRECTORY.
func cutPath(flag, host, value string) (before, dir string, err error) {
	i := strings.Index(value, ":/")
	if i < 1 {
		return "", "", wrongUsage("--%s is %s:/DIRECTORY, not %q", flag, host, value)
	}
	return value[:i], value[i+1:], nil
}
