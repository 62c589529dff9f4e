package cluster

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

//go:embed overlay
var overlayTemplates embed.FS

// overlay holds what Modelkiln's manifests cannot know about this cluster.
type overlay struct {
	// Base is the path of manifests/modelkiln, relative to the directory that the overlay is written to.
	Base string
	// Images are Modelkiln's own.
	Images    []overlayImage
	Registry  string
	BaseImage string
	// Machine is the address of the machine, where tests run object stores and hubs.
	Machine string
}

// overlayImage sets the tag of an image, as kustomize's images do.
type overlayImage struct{ Name, Tag string }

// files renders the overlay, by file name.
func (o overlay) files() (map[string][]byte, error) {
	parsed, err := template.ParseFS(overlayTemplates, "overlay/*")
	if err != nil {
		return nil, err
	}
	rendered := map[string][]byte{}
	for _, file := range parsed.Templates() {
		var out bytes.Buffer
		if err := file.Execute(&out, o); err != nil {
			return nil, err
		}
		rendered[file.Name()] = out.Bytes()
	}
	return rendered, nil
}

// write writes the overlay as a directory that kustomize can build.
func (o overlay) write(dir string) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// modelkilnImages compiles Modelkiln's programs into a directory and returns the images of them.
func (c *Cluster) modelkilnImages(ctx context.Context, dir string) ([]image.Spec, error) {
	build := golang.Build{Dir: c.checkout.Root, Output: dir}
	for _, program := range image.ModelkilnPrograms {
		build.Packages = append(build.Packages, "./cmd/"+program)
	}
	if err := c.compile(ctx, "Modelkiln", build); err != nil {
		return nil, err
	}
	return image.ModelkilnSpecs(dir)
}

// compile builds programs of this checkout. It reports that a build takes long, and returns what the Go command complains
// about.
func (c *Cluster) compile(ctx context.Context, what string, build golang.Build) error {
	if err := os.MkdirAll(build.Output, 0o755); err != nil {
		return err
	}
	var complaints strings.Builder
	build.Stderr = &complaints
	err := c.report.During("compiling "+what, func() error { return build.Run(ctx) })
	if err != nil && complaints.Len() > 0 {
		return fmt.Errorf("%s does not compile:\n%s", what, strings.TrimSpace(complaints.String()))
	}
	return err
}

// applyModelkiln installs Modelkiln from this checkout's manifests, with the images that were built from its programs.
func (c *Cluster) applyModelkiln(ctx context.Context) error {
	dir := filepath.Join(node.DataDir, "modelkiln")
	// kustomize accepts no absolute path.
	base, err := filepath.Rel(dir, c.checkout.Source("manifests", "modelkiln"))
	if err != nil {
		return err
	}
	settings := overlay{Base: base, Registry: c.settings.Registry(), BaseImage: c.settings.Registry() + baseImage, Machine: c.settings.Machine()}
	for _, spec := range c.modelkiln {
		repository, tag, _ := strings.Cut(spec.Name, ":")
		settings.Images = append(settings.Images, overlayImage{Name: repository, Tag: tag})
	}
	if err := settings.write(dir); err != nil {
		return err
	}
	return c.apply(ctx, dir)
}
