package cluster

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/kube"
)

// baseImage is the repository and tag of the base image of model images in the cluster's registry.
const baseImage = "/library/busybox:1.37"

// prepareImages compiles and describes the images of the node's pods.
func (c *Cluster) prepareImages(ctx context.Context) error {
	programs := c.programs()
	modelkiln, err := c.modelkilnImages(ctx, programs)
	if err != nil {
		return err
	}
	pause := golang.Build{Dir: c.checkout.Source(), Packages: []string{"./pause"}, Output: programs}
	if err := c.compile(ctx, "the pause program", pause); err != nil {
		return err
	}
	busybox, err := image.BusyboxSpec(image.Busybox)
	if err != nil {
		return err
	}
	c.images = append([]image.Spec{image.PauseSpec(filepath.Join(programs, "pause")), busybox}, image.NodeSpecs(c.tools)...)
	if c.digests, err = digests(c.images); err != nil {
		return err
	}
	c.modelkiln = modelkiln
	c.images = append(c.images, modelkiln...)
	if c.training {
		c.images = append(c.images, image.TrainingSpecs(c.tools)...)
	}
	return c.compileTrainer(ctx)
}

// programs returns the directory of the programs that are compiled from this checkout. It outlives the cluster, so that
// unchanged programs are not linked again.
func (c *Cluster) programs() string { return filepath.Join(c.checkout.Cache, "programs") }

// digests returns the digests of images by name.
func digests(specs []image.Spec) (map[string]string, error) {
	found := make(map[string]string, len(specs))
	for _, spec := range specs {
		digest, err := spec.Digest()
		if err != nil {
			return nil, err
		}
		found[spec.Name] = digest.String()
	}
	return found, nil
}

// importImages imports the images that the node lacks into its containerd.
func (c *Cluster) importImages(ctx context.Context) error {
	present, err := c.ctr(ctx, nil, "images", "list", "--quiet")
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(c.images), func(spec image.Spec) bool {
		return slices.Contains(strings.Fields(present), spec.Name)
	})
	if len(missing) == 0 {
		return nil
	}
	c.report.Logf("loading %s into the node", names(missing))
	images := map[name.Tag]v1.Image{}
	for _, spec := range missing {
		tag, err := name.NewTag(spec.Name)
		if err != nil {
			return err
		}
		if images[tag], err = spec.Build(); err != nil {
			return err
		}
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.MultiWrite(images, writer)) }()
	// Without --local the stream is split into small messages, which takes twice as long.
	_, err = c.ctr(ctx, reader, "images", "import", "--local", "-")
	_ = reader.Close() // stops the writer if ctr exited early
	return err
}

// names returns short names of images for progress messages, such as "busybox, kaniko".
func names(specs []image.Spec) string {
	list := make([]string, len(specs))
	for i, spec := range specs {
		list[i], _, _ = strings.Cut(path.Base(spec.Name), ":")
	}
	return strings.Join(list, ", ")
}

// podsNamespace is the containerd namespace that kubelet uses.
const podsNamespace = "k8s.io"

// ctr runs containerd's command-line client.
func (c *Cluster) ctr(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	args = append([]string{"--address", kube.ContainerdSocket, "--namespace", podsNamespace}, args...)
	return output(ctx, stdin, c.tools["containerd"].Program("ctr"), args...)
}

// output runs a program and returns its standard output. An error contains its standard error.
func output(ctx context.Context, stdin io.Reader, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Otherwise a waiting kubectl would outlive a run that is killed, and the cluster that is removed then.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
