package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/kube"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

// nodeImages are the images that pods use without a pull, apart from the operator's own.
func (c *Cluster) nodeImages(ctx context.Context) ([]image.Spec, error) {
	// Its place among the cluster's data lets it go with the cluster.
	pause := filepath.Join(node.Home, "pause")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", pause, "./pause")
	build.Dir = c.checkout.Source()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the pause program does not compile: %w: %s", err, out)
	}
	busybox, err := image.BusyboxSpec(image.Busybox)
	if err != nil {
		return nil, err
	}
	return append([]image.Spec{image.PauseSpec(pause), busybox}, image.NodeSpecs(c.tools)...), nil
}

// importImages puts the images that the node does not have yet into its containerd.
func (c *Cluster) importImages(ctx context.Context, specs []image.Spec) error {
	present, err := c.ctr(ctx, nil, "images", "list", "--quiet")
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for ref := range strings.FieldsSeq(present) {
		have[ref] = true
	}
	images := map[name.Tag]v1.Image{}
	for _, spec := range specs {
		if have[spec.Name] {
			continue
		}
		tag, err := name.NewTag(spec.Name)
		if err != nil {
			return err
		}
		if images[tag], err = spec.Build(compression.None); err != nil {
			return err
		}
	}
	if len(images) == 0 {
		return nil
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.MultiWrite(images, writer)) }()
	_, err = c.ctr(ctx, reader, "images", "import", "-")
	reader.Close()
	return err
}

// ctr calls containerd's own client, in the part of containerd's store that kubelet looks at.
func (c *Cluster) ctr(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	args = append([]string{"--address", kube.ContainerdSocket, "--namespace", "k8s.io"}, args...)
	return output(ctx, stdin, c.tools["containerd"].Program("ctr"), args...)
}

// pushBusybox puts the base image of model images into the registry, unless it is there.
func (c *Cluster) pushBusybox(ctx context.Context) error {
	spec, err := image.BusyboxSpec(c.settings.Registry() + "/library/busybox:1.37")
	if err != nil {
		return err
	}
	return push(ctx, spec, name.Insecure)
}

// push puts an image into a registry, unless the registry has it under this name already.
func push(ctx context.Context, spec image.Spec, options ...name.Option) error {
	ref, err := name.ParseReference(spec.Name, options...)
	if err != nil {
		return fmt.Errorf("%q is not the name of an image: %w", spec.Name, err)
	}
	img, err := spec.Build(compression.GZip)
	if err != nil {
		return err
	}
	want, err := img.Digest()
	if err != nil {
		return err
	}
	if got, err := remote.Head(ref, remote.WithContext(ctx)); err == nil && got.Digest == want {
		return nil
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("cannot push %s: %w", ref, err)
	}
	return nil
}

// output runs a program and gives what it wrote; on failure, what it complained of.
func output(ctx context.Context, stdin io.Reader, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}
