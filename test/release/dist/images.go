package dist

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// pin returns a reference by digest, which it asks the registry for.
func (r *release) pin(ctx context.Context, image string) (string, error) {
	ref, err := name.ParseReference(image, r.nameOptions()...)
	if err != nil {
		return "", fmt.Errorf("KANIKO=%q is not an image: %w", image, err)
	}
	if digest, ok := ref.(name.Digest); ok {
		return digest.String(), nil
	}
	descriptor, err := remote.Head(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return "", fmt.Errorf("the digest of Kaniko's image cannot be read: %w. Name a copy in a registry that can be reached, or a digest: KANIKO=registry.example.com/mirror/kaniko:v1.28.3", err)
	}
	return chart.Untagged(image) + "@" + descriptor.Digest.String(), nil
}

// pushImages pushes Modelkiln's images, writes their SBOMs, and records their digests.
func (r *release) pushImages(ctx context.Context) error {
	sboms, err := filepath.Abs(filepath.Join(r.Output, "sbom"))
	if err != nil {
		return err
	}
	flags := "--sbom-dir=" + sboms
	if r.PlainHTTP {
		flags += " --insecure-registry"
	}
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", r.Root, "push-images", "REPOSITORY="+r.Repository, "TAG="+r.Version, "KO_FLAGS="+flags)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, r.Progress), r.Progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("push the images: %w", err)
	}
	r.images.Operator, r.images.Step, err = pushed(out.String(), r.Repository)
	return err
}

// pushed returns the references of the operator's and the steps' images by digest, from
// the output of make push-images, which contains one line for each.
func pushed(output, repository string) (operator, step string, err error) {
	for _, word := range strings.Fields(output) {
		_, digest, found := strings.Cut(word, "@")
		switch {
		case !found:
		case chart.Untagged(word) == repository+"/modelkiln":
			operator = repository + "/modelkiln@" + digest
		case chart.Untagged(word) == repository+"/modelkiln-step":
			step = repository + "/modelkiln-step@" + digest
		}
	}
	if operator == "" || step == "" {
		return "", "", fmt.Errorf("make push-images has not printed the digests of %s/modelkiln and %s/modelkiln-step", repository, repository)
	}
	return operator, step, nil
}
