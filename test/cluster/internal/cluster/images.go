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

// baseImage is where in the cluster's registry the base image of model images is.
const baseImage = "/library/busybox:1.37"

// prepareImages makes all that the images of the node's pods consist of.
func (c *Cluster) prepareImages(ctx context.Context) error {
	programs := c.programs()
	modelkiln, err := c.modelkilnImage(ctx, programs)
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
	c.images = append(c.images, modelkiln)
	if c.training {
		c.images = append(c.images, image.TrainingSpecs(c.tools)...)
	}
	return c.compileTrainer(ctx)
}

// programs is the folder of what is compiled from this checkout. It outlives the cluster, so that what has not changed is
// not linked again.
func (c *Cluster) programs() string { return filepath.Join(c.checkout.Cache, "programs") }

// digests tell by name what is in images.
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

// importImages puts the images that the node does not have yet into its containerd.
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
	// Without --local the stream is cut into small messages, and takes twice the time.
	_, err = c.ctr(ctx, reader, "images", "import", "--local", "-")
	_ = reader.Close() // ends the writer, should ctr have ended first
	return err
}

// names tells images apart from each other, for a person: busybox, kaniko.
func names(specs []image.Spec) string {
	list := make([]string, len(specs))
	for i, spec := range specs {
		list[i], _, _ = strings.Cut(path.Base(spec.Name), ":")
	}
	return strings.Join(list, ", ")
}

// podsNamespace is the part of containerd's store that kubelet looks at.
const podsNamespace = "k8s.io"

// ctr calls containerd's own client.
func (c *Cluster) ctr(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	args = append([]string{"--address", kube.ContainerdSocket, "--namespace", podsNamespace}, args...)
	return output(ctx, stdin, c.tools["containerd"].Program("ctr"), args...)
}

// output runs a program and gives what it wrote; on failure, what it complained of.
func output(ctx context.Context, stdin io.Reader, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	// A kubectl that waits would otherwise outlive a run that is killed, and the cluster that is then taken down.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}
