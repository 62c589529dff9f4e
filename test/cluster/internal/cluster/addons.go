package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

// registryData is where the registry, which runs as nobody in particular, keeps its blobs.
var registryData = filepath.Join(node.Home, "registry")

const registryUser = 65532

// deployments are all that is installed.
var deployments = []deployment{
	{"registry", "registry"},
	{"argo", "workflow-controller"},
	{"argo", "argo-server"},
	{"modelkiln-system", "modelkiln-controller-manager"},
}

// applyArgo installs Argo Workflows from its own manifests, in the version that was compiled.
func (c *Cluster) applyArgo(ctx context.Context) error {
	folder, err := c.besideUpstream("argo")
	if err != nil {
		return err
	}
	return c.apply(ctx, folder)
}

// besideUpstream makes a folder of our manifests for a tool, with the tool's own in it as upstream/. kustomize reads nothing
// outside of its folder.
func (c *Cluster) besideUpstream(name string) (string, error) {
	folder := filepath.Join(node.Home, name)
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	if err := os.CopyFS(folder, os.DirFS(c.checkout.Source("manifests", name))); err != nil {
		return "", err
	}
	return folder, os.CopyFS(filepath.Join(folder, "upstream"), os.DirFS(c.tools[name].Manifests()))
}

// awaitKind waits until the API server serves a kind whose definition has just been applied. Whoever is quicker than the
// API server is told that there is no such kind.
func (c *Cluster) awaitKind(ctx context.Context, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := c.kubectl(ctx, "get", kind)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not serve %s: %w", kind, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// applyRegistry installs the registry.
func (c *Cluster) applyRegistry(ctx context.Context) error {
	if err := errors.Join(os.MkdirAll(registryData, 0o755), os.Chown(registryData, registryUser, registryUser)); err != nil {
		return err
	}
	return c.apply(ctx, c.checkout.Source("manifests", "registry"))
}

// apply applies a kustomization. What is as it should be already stays untouched.
func (c *Cluster) apply(ctx context.Context, kustomization string) error {
	_, err := c.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--kustomize", kustomization)
	return err
}

func (c *Cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	args = append([]string{
		"--kubeconfig", c.checkout.Output("kubeconfig"),
		"--cache-dir", filepath.Join(node.Home, "kubectl-cache"),
	}, args...)
	return output(ctx, nil, c.tools["kubernetes"].Program("kubectl"), args...)
}
