package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/cmd/kubectl-kiln/internal/ocilayout"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// scratch is the empty base image.
const scratch = handoff.Scratch

// packaging is what a user asks of package.
type packaging struct {
	step.Local
	access      registryAccess
	output      string
	symlinks    string
	check       string
	compression string
	quiet       bool
}

func (k *kiln) packageCommand() *cobra.Command {
	p := &packaging{}
	cmd := &cobra.Command{
		Use:   "package DIRECTORY [REPOSITORY[:TAG]]",
		Short: "Make the image of a model from a directory, without a cluster",
		Long: `Make the image of a model from a directory, and push it, without a cluster.

The image is what the engine Stream builds in a cluster: the same files have the same
layers. A tag is never overwritten; if it has an image of the same files, nothing is
pushed. The default tag is the time. Credentials are those of docker login.

With --output oci:DIRECTORY, the image is stored as an OCI layout, and no registry is
needed; the base image is then scratch unless you name one.`,
		Example: `  # Push a model to a registry
  kubectl kiln package ./resnet registry.example.com/models/resnet:v1
  # See what the image has, without a registry
  kubectl kiln package ./resnet --output oci:resnet-image`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeDirectory,
	}
	p.define(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.Directory = args[0]
		if len(args) > 1 {
			p.Image = args[1]
		}
		if err := p.complete(cmd.Flags().Changed("base-image")); err != nil {
			return err
		}
		return k.packageLocally(cmd.Context(), p)
	}
	return cmd
}

func (p *packaging) define(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&p.output, "output", "", "where to store the image instead of pushing it: oci:`DIRECTORY`")
	flags.StringVar(&p.BaseImage, "base-image", config.Default().BaseImage, "the `image` to which the files are added, or scratch")
	flags.StringVar(&p.ModelPath, "model-path", v1alpha1.ModelPath, "the directory of the image that holds the files")
	flags.StringVar(&p.Model, "model", "", "the `name` of the Model, for the labels of the image; the end of REPOSITORY by default")
	flags.StringVar(&p.CreatedBy, "created-by", "", "the `user` or job that made the model, for the labels of the image")
	flags.StringVar(&p.PreviousImage, "previous-image", "", "an image by `digest` that may have many of the files: what it has is not sent again")
	flags.StringArrayVar(&p.Patterns.Include, "include", nil, "a `pattern` of files that are packaged, as in .gitignore; can be repeated; all files by default")
	flags.StringArrayVar(&p.Patterns.Exclude, "exclude", nil, "a `pattern` of files and directories that are not packaged, as in .gitignore; can be repeated")
	flags.StringVar(&p.symlinks, "symlinks", string(v1alpha1.KeepSymlinks), "whether symbolic links are packaged as links or as what they lead to: Keep or Follow")
	flags.StringVar(&p.check, "completeness-check", string(v1alpha1.EnforceCompleteness), "whether a model of which files seem to be missing is rejected: Enforce or Skip")
	flags.StringVar(&p.compression, "compression", string(v1alpha1.NoCompression), "the compression of the layers: None or Zstd")
	flags.BoolVarP(&p.quiet, "quiet", "q", false, "print only the reference of the image")
	p.access.defineAny(flags)
}

// complete checks the flags, and sets what they imply.
func (p *packaging) complete(baseNamed bool) error {
	choices := []struct {
		flag, value string
		allowed     [2]string
		into        *bool
	}{
		{"symlinks", p.symlinks, [2]string{string(v1alpha1.KeepSymlinks), string(v1alpha1.FollowSymlinks)}, &p.FollowLinks},
		{"completeness-check", p.check, [2]string{string(v1alpha1.EnforceCompleteness), string(v1alpha1.SkipCompleteness)}, &p.SkipCompleteness},
		{"compression", p.compression, [2]string{string(v1alpha1.NoCompression), string(v1alpha1.Zstd)}, &p.Zstd},
	}
	for _, c := range choices {
		if c.value != c.allowed[0] && c.value != c.allowed[1] {
			return wrongUsage("--%s is %s or %s, not %q", c.flag, c.allowed[0], c.allowed[1], c.value)
		}
		*c.into = c.value == c.allowed[1]
	}
	dir, found := strings.CutPrefix(p.output, "oci:")
	switch {
	case p.output != "" && (!found || dir == ""):
		return wrongUsage("--output is oci:DIRECTORY, not %q", p.output)
	case found && isWithin(p.Directory, dir):
		return wrongUsage("the OCI layout %s is in the directory %s that is packaged: store it elsewhere", dir, p.Directory)
	case p.output == "" && p.Image == "":
		return wrongUsage("name the repository to push to, or store the image with --output oci:DIRECTORY")
	case p.output != "" && !baseNamed:
		p.BaseImage = scratch
	}
	p.output = dir
	return p.completeImage(now())
}

// isWithin reports whether a path is a directory, or in it.
func isWithin(dir, path string) bool {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	if path, err = filepath.Abs(path); err != nil {
		return false
	}
	relative, err := filepath.Rel(absolute, path)
	return err == nil && filepath.IsLocal(relative)
}

// completeImage sets the tag and the label that the user has not set. The tags of
// versions that are packaged one after the other are in the order of their names.
func (p *packaging) completeImage(now time.Time) error {
	if p.Image == "" {
		dir, err := filepath.Abs(p.Directory)
		if err != nil {
			return err
		}
		p.Image = strings.ToLower(filepath.Base(dir))
		if _, err := (registry.Config{}).Tag(p.Image); err != nil {
			return wrongUsage("the directory's name %q cannot be that of an image: name the image too, for example resnet:v1", filepath.Base(dir))
		}
	}
	if repository, tag := splitImage(p.Image); tag == "" && repository == p.Image {
		p.Image += now.UTC().Format(":v20060102150405")
	}
	tag, err := registry.Config{}.Tag(p.Image)
	if err != nil {
		return usageError{err}
	}
	p.Model = cmp.Or(p.Model, path.Base(tag.RepositoryStr()))
	return nil
}

// packageLocally builds the image, and pushes or stores it.
func (k *kiln) packageLocally(ctx context.Context, p *packaging) error {
	var log io.Writer = console.NewLog(k.ErrOut)
	if p.quiet {
		log = io.Discard
	}
	var r report.Report
	var err error
	if p.output == "" {
		r, err = p.push(ctx, log)
	} else {
		r, err = p.store(ctx, log)
	}
	if err != nil {
		return failureOf(err)
	}
	if advice := r.Source.Advice; advice != "" {
		console.Logf(log, "%s", advice)
	}
	_, err = fmt.Fprintf(k.Out, "%s@%s\n", p.Image, r.Image.Digest)
	return err
}

// failureOf returns the error of a command for the failure of a step.
func failureOf(err error) error {
	var f *failure.Error
	if !errors.As(err, &f) {
		return err
	}
	return fmt.Errorf("%s: %s", f.Reason, f.Message)
}

func (p *packaging) push(ctx context.Context, log io.Writer) (report.Report, error) {
	var err error
	if p.Registry, err = p.access.config(p.Image, p.BaseImage, p.PreviousImage); err != nil {
		return report.Report{}, err
	}
	return p.Build(ctx, log)
}

// store pushes the image to a registry that writes an OCI layout.
func (p *packaging) store(ctx context.Context, log io.Writer) (r report.Report, err error) {
	server, err := ocilayout.Start(ctx, p.output)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	const tag = "stored"
	local := p.Local
	local.Image = server.Host + "/" + ocilayout.Repository + ":" + tag
	access := p.access
	access.plainHTTP = append(slices.Clone(access.plainHTTP), server.Host)
	access.auths = map[string]authn.AuthConfig{server.Host + "/" + ocilayout.Repository: server.Credentials()}
	if local.Registry, err = access.config(p.BaseImage, p.PreviousImage); err != nil {
		return r, err
	}
	if r, err = local.Build(ctx, log); err != nil {
		return r, err
	}
	return r, server.Commit(tag, p.Image)
}
