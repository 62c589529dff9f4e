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

// standIns are the programs that stand in for file servers, and where the node has them.
var standIns = []struct{ program, path string }{
	{"nfs-stand-in", filepath.Join(node.MountHelpers, "mount.nfs")},
	{"efs-stand-in", kube.EFSStandIn},
}

// prepareStandIns compiles them, and gives a digest of them.
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
		if err := copyTo(sum, filepath.Join(c.programs(), each.program)); err != nil {
			return err
		}
	}
	c.standIns = fmt.Sprintf("%x", sum.Sum(nil))
	return nil
}

// installStandIns puts them where the node finds them, which is not made yet, and makes the folders that they serve.
func (c *Cluster) installStandIns() error {
	for _, each := range standIns {
		if err := installProgram(filepath.Join(c.programs(), each.program), each.path); err != nil {
			return err
		}
	}
	for _, folder := range []string{node.NFSFolder, node.EFSFolder} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
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
	if err := copyTo(installed, from); err != nil {
		_ = installed.Close()
		return err
	}
	return installed.Close()
}

func copyTo(to io.Writer, file string) error {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	_, err = io.Copy(to, from)
	return err
}
