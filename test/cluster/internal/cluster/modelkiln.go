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

// overlay is what Modelkiln's manifests have to be told about this cluster.
type overlay struct {
	// Base is the path of manifests/modelkiln, from the folder that the overlay is written to.
	Base string
	// Repository and Tag name Modelkiln's image.
	Repository, Tag string
	Registry        string
	BaseImage       string
}

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

// write writes the overlay as a folder that kustomize takes.
func (o overlay) write(folder string) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// modelkilnImage compiles Modelkiln's programs into a folder and gives the image of them.
func (c *Cluster) modelkilnImage(ctx context.Context, folder string) (image.Spec, error) {
	build := golang.Build{Dir: c.checkout.Root, Output: folder}
	for _, program := range image.ModelkilnPrograms {
		build.Packages = append(build.Packages, "./cmd/"+program)
	}
	if err := c.compile(ctx, "Modelkiln", build); err != nil {
		return image.Spec{}, err
	}
	return image.ModelkilnSpec(folder)
}

// compile builds programs of this checkout. It says that it takes long if it does, and what the Go command complains of.
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

// applyModelkiln installs Modelkiln from this checkout's manifests, with the image that was made of its programs.
func (c *Cluster) applyModelkiln(ctx context.Context) error {
	folder := filepath.Join(node.DataDir, "modelkiln")
	// kustomize takes no absolute path.
	base, err := filepath.Rel(folder, c.checkout.Source("manifests", "modelkiln"))
	if err != nil {
		return err
	}
	_, tag, _ := strings.Cut(c.modelkiln.Name, ":")
	settings := overlay{
		Base:       base,
		Repository: image.ModelkilnRepository,
		Tag:        tag,
		Registry:   c.settings.Registry(),
		BaseImage:  c.settings.Registry() + baseImage,
	}
	if err := settings.write(folder); err != nil {
		return err
	}
	return c.apply(ctx, folder)
}
