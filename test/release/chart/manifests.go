package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Kustomization is what Render builds: directories of deploy/, relative to the root of
// the checkout, as a user's kustomization lists them.
type Kustomization struct {
	Resources  []string
	Components []string
	// Namespace replaces modelkiln-system if it is not empty.
	Namespace string
	// Order is that of the objects; that of the resources if empty.
	Order krusty.ReorderOption
	// Images replace those that the manifests name.
	Images []Image
}

// Image replaces an image by its name without a tag.
type Image struct {
	Name    string `json:"name"`
	NewName string `json:"newName,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// Render returns the objects of a kustomization, as kubectl apply -k sends them.
func Render(root string, k Kustomization) (resmap.ResMap, error) {
	dir, err := os.MkdirTemp("", "modelkiln-kustomization-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	content, err := k.content(dir, root)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), content, 0o600); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	if k.Order != "" {
		options.Reorder = k.Order
	}
	objects, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", strings.Join(append(k.Resources, k.Components...), ", "), err)
	}
	return objects, nil
}

// content returns the file kustomization.yaml of a directory. kustomize accepts no
// absolute paths, and resolves symbolic links before it follows a relative one.
func (k Kustomization) content(dir, root string) ([]byte, error) {
	from, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	to, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if to, err = filepath.EvalSymlinks(to); err != nil {
		return nil, err
	}
	up, err := filepath.Rel(from, to)
	if err != nil {
		return nil, err
	}
	relative := func(paths []string) []string {
		var all []string
		for _, path := range paths {
			all = append(all, filepath.Join(up, path))
		}
		return all
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": relative(k.Resources), "components": relative(k.Components), "images": k.Images, "namespace": k.Namespace,
	})
}
