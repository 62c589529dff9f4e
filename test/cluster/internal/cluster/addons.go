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

// registryData is the registry's storage directory. It belongs to registryUser, as whom the registry runs.
var registryData = filepath.Join(node.DataDir, "registry")

const registryUser = 65532

// deployments are the Deployments of every cluster.
var deployments = []deployment{
	{"registry", "registry"},
	{"argo", "workflow-controller"},
	{"argo", "argo-server"},
	{"modelkiln-system", "modelkiln-controller-manager"},
}

// applyArgo installs the compiled version of Argo Workflows with its own manifests.
func (c *Cluster) applyArgo(ctx context.Context) error {
	dir, err := c.copyManifests("argo")
	if err != nil {
		return err
	}
	return c.apply(ctx, dir)
}

// copyManifests copies our kustomization for a tool, and the tool's own manifests as upstream/ below it, to a directory of
// the cluster, because kustomize does not read files outside of the kustomization's directory. It returns the directory.
func (c *Cluster) copyManifests(name string) (string, error) {
	dir := filepath.Join(node.DataDir, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(c.checkout.Source("manifests", name))); err != nil {
		return "", err
	}
	return dir, os.CopyFS(filepath.Join(dir, "upstream"), os.DirFS(c.tools[name].Manifests()))
}

// waitForKind waits until the API server serves a kind whose CRD was just applied. Until then, it rejects the kind as
// unknown.
func (c *Cluster) waitForKind(ctx context.Context, kind string) error {
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

// apply applies a kustomization. Objects that already match it do not change.
func (c *Cluster) apply(ctx context.Context, kustomization string) error {
	_, err := c.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--kustomize", kustomization)
	return err
}

// kubectl runs kubectl as the cluster's administrator and returns its output.
// kubectl runs kubectl as the cluster's administrator and returns its output.
func (c *Cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	args = append([]string{
		"--kubeconfig", c.checkout.Output("kubeconfig"),
		"--cache-dir", filepath.Join(node.DataDir, "kubectl-cache"),
	}, args...)
	return output(ctx, nil, c.tools["kubernetes"].Program("kubectl"), args...)
}
