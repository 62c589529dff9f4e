package tool

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

// The tools with an API server: that of the cluster, and that of the oldest release of Kubernetes that Modelkiln supports.
const (
	Kubernetes       = "kubernetes"
	OldestKubernetes = "kubernetes-oldest"
)

// AssetTools returns the names of the tools that tests with a bare API server need, with the API server of this tool.
func AssetTools(apiServer string) []string {
	return slices.Compact([]string{"etcd", Kubernetes, apiServer})
}

// Assets creates a directory for envtest's KUBEBUILDER_ASSETS with links to the compiled programs, with the API server of
// this tool, and returns its path.
func Assets(co checkout.Checkout, tools map[string]Tool, apiServer string) (string, error) {
	programs := map[string]string{"etcd": "etcd", "kube-apiserver": apiServer, "kubectl": Kubernetes}
	var dirs string
	for _, name := range AssetTools(apiServer) {
		dirs += tools[name].Dir
	}
	digest := sha256.Sum256([]byte(dirs))
	return createDir(filepath.Join(co.Cache, "assets", fmt.Sprintf("%x", digest[:5])), func(dir string) error {
		for program, tool := range programs {
			if err := os.Symlink(tools[tool].Program(program), filepath.Join(dir, program)); err != nil {
				return err
			}
		}
		return nil
	})
}

// createDir creates a directory atomically: it fills a temporary directory and renames it to path.
func createDir(path string, fill func(dir string) error) (string, error) {
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(path), ".assets-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.Chmod(work, 0o755); err != nil {
		return "", err
	}
	if err := fill(work); err != nil {
		return "", err
	}
	if err := os.Rename(work, path); err != nil && !exists(path) {
		return "", err
	}
	return path, nil
}
