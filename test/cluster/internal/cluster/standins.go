package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/kube"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

// standIns are the programs that stand in for file servers, and their paths in the node.
var standIns = []struct{ program, path string }{
	{"nfs-stand-in", filepath.Join(node.MountHelperDir, "mount.nfs")},
	{"efs-stand-in", kube.EFSStandIn},
}

// prepareStandIns compiles the stand-ins and computes their digest.
func (c *Cluster) prepareStandIns(ctx context.Context) error {
	build := golang.Build{Dir: c.checkout.Source(), Output: c.programs()}
	for _, each := range standIns {
		build.Packages = append(build.Packages, "./"+each.program)
	}
	if err := c.compile(ctx, "the stand-ins for file servers", build); err != nil {
		return err
	}
	sum := sha256.New()
	for _, each := range standIns {
		if err := copyFile(sum, filepath.Join(c.programs(), each.program)); err != nil {
			return err
		}
	}
	c.standIns = fmt.Sprintf("%x", sum.Sum(nil))
	return nil
}

// installStandIns installs the stand-ins and creates the directories that they export. It must run before the node is
// created.
func (c *Cluster) installStandIns() error {
	for _, each := range standIns {
		if err := installProgram(filepath.Join(c.programs(), each.program), each.path); err != nil {
			return err
		}
	}
	for _, dir := range []string{node.NFSDir, node.EFSDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func installProgram(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	installed, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if err := copyFile(installed, from); err != nil {
		_ = installed.Close()
		return err
	}
	return installed.Close()
}

// copyFile copies the content of the file at path to w.
func copyFile(w io.Writer, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	_, err = io.Copy(w, from)
	return err
}
