// Package dist makes a release of Modelkiln: it pushes the images and the Helm chart to a
// registry, and writes what a release page offers, such as the plugin of kubectl, to a
// directory.
package dist

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/kustomize/api/krusty"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// Options describe a release.
type Options struct {
	// Root is the root of the checkout, and Output the directory that is replaced.
	Root, Output string
	// Version is the tag of the release, for example v0.2.0. The manifests name it already.
	Version string
	// Repository is the registry and the path to which the images and, below charts, the
	// chart are pushed, for example registry.example.com/modelkiln.
	Repository string
	// Kaniko is Kaniko's image, in a registry that can be reached; the one that the
	// manifests name if empty. A release names it by digest.
	Kaniko string
	// PluginPlatforms are those for which the plugin of kubectl is compiled, separated by
	// commas, for example linux/amd64,darwin/arm64; those of its manifest if empty.
	PluginPlatforms string
	// PlainHTTP accesses the registries without TLS. Those on this machine always are.
	PlainHTTP bool
	// AllowChanges makes a release of a checkout with changes that are not committed.
	AllowChanges bool
	// Progress receives what the programs print that build the images.
	Progress io.Writer
}

var (
	versionTag = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)
	repository = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+$`)
)

// isVersion reports whether a text is the tag of a release, and a version for Helm and Krew.
func isVersion(tag string) bool {
	_, err := semver.StrictNewVersion(chart.Version(tag))
	return err == nil && versionTag.MatchString(tag)
}

const usage = "make release VERSION=v0.2.0 REPOSITORY=registry.example.com/modelkiln"

// Make makes a release. It pushes nothing before it has checked all that it can.
func Make(ctx context.Context, o Options) error {
	if !isVersion(o.Version) {
		return fmt.Errorf("VERSION=%q is not a version such as v0.2.0 or v0.2.0-rc.1. Example: %s", o.Version, usage)
	}
	if !repository.MatchString(o.Repository) {
		return fmt.Errorf("REPOSITORY=%q is invalid: it must be a registry host and a lowercase path, without a scheme or a tag. Example: %s", o.Repository, usage)
	}
	if err := checkCheckout(ctx, o); err != nil {
		return err
	}
	r := release{Options: o}
	r.compiler = r.compile
	var err error
	if r.plugin, err = o.manifest(); err != nil {
		return err
	}
	if r.images, err = r.manifestImages(); err != nil {
		return err
	}
	if o.Kaniko != "" {
		r.images.Kaniko = o.Kaniko
	}
	if r.images.Kaniko, err = r.pin(ctx, r.images.Kaniko); err != nil {
		return err
	}
	if err := os.RemoveAll(o.Output); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Output, 0o755); err != nil {
		return err
	}
	return r.make(ctx)
}

// release is a release that is being made.
type release struct {
	Options
	// images are those of the release, by digest.
	images chart.References
	// chartDigest is that of the chart in the registry.
	chartDigest string
	// plugin is the manifest of the plugin, with the platforms of the release.
	plugin plugin
	// compiler compiles the plugin for a platform.
	compiler func(ctx context.Context, p pluginPlatform, to string) error
}

func (r *release) make(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		r.writeLicenses, r.writePlugin, r.pushImages, r.writeInstall, r.writeImages, r.pushChart, r.writeNotes, r.writeChecksums,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// manifestImages returns the images that the manifests of the checkout name.
func (r *release) manifestImages() (chart.References, error) {
	objects, err := chart.Render(r.Root, chart.Kustomization{Resources: []string{"deploy/default"}})
	if err != nil {
		return chart.References{}, err
	}
	images, err := chart.Images(objects)
	if err != nil {
		return images, err
	}
	for image, want := range map[string]string{images.Operator: chart.OperatorImage, images.Step: chart.StepImage} {
		if image != want+":"+r.Version {
			return images, fmt.Errorf("the manifests name the image %s, and not version %s, which users of kustomize would install: run make prepare-release VERSION=%s and commit the result", image, r.Version, r.Version)
		}
	}
	return images, nil
}

// writeInstall writes everything that deploy/default installs as one file.
func (r *release) writeInstall(context.Context) error {
	kustomization := chart.Kustomization{Resources: []string{"deploy/default"}, Order: krusty.ReorderOptionLegacy}
	for _, image := range []struct{ name, by string }{
		{chart.OperatorImage, r.images.Operator}, {chart.StepImage, r.images.Step}, {chart.KanikoImage, r.images.Kaniko},
	} {
		_, digest, _ := strings.Cut(image.by, "@")
		kustomization.Images = append(kustomization.Images, chart.Image{Name: image.name, NewName: chart.Untagged(image.by), Digest: digest})
	}
	objects, err := chart.Render(r.Root, kustomization)
	if err != nil {
		return err
	}
	content, err := objects.AsYaml()
	if err != nil {
		return err
	}
	return r.write("install.yaml", content)
}

// writeImages lists the images that a cluster without access to the internet needs, in
// addition to Argo's own.
func (r *release) writeImages(context.Context) error {
	return r.write("images.txt", []byte(strings.Join(r.images.All(), "\n")+"\n"))
}

func (r *release) write(file string, content []byte) error {
	return os.WriteFile(filepath.Join(r.Output, file), content, 0o644)
}

// nameOptions are how references are parsed.
func (o Options) nameOptions() []name.Option {
	if o.PlainHTTP {
		return []name.Option{name.Insecure}
	}
	return nil
}
